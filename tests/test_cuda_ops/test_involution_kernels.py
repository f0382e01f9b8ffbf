"""The CUDA kernels of the involution, run by the emulator."""

import pytest
import torch
from test_cuda_ops.emulated import guarded, kernels, needs_compiler
from tolerances import TOLERANCES, assert_close

from smpconv_mm.ops import reference

pytestmark = needs_compiler

DTYPES = [torch.float32, torch.float16, torch.bfloat16]

# N, C, G, H, W, K, stride, padding, dilation, order, border
SHAPES = [
    (1, 1, 1, 1, 1, 1, 1, 0, 1, 'contiguous', 'zeros'),
    (2, 32, 2, 7, 7, 7, 1, 3, 1, 'contiguous', 'zeros'),
    (1, 16, 1, 14, 14, 7, 1, 3, 1, 'contiguous', 'zeros'),
    (1, 48, 2, 12, 20, 3, 1, 1, 1, 'contiguous', 'zeros'),  # 24 channels a group
    (2, 16, 1, 28, 28, 5, 1, 2, 1, 'contiguous', 'zeros'),
    (1, 4, 4, 5, 130, 3, 1, 1, 1, 'contiguous', 'zeros'),  # tiles of columns
    (1, 16, 1, 4, 100, 7, 2, 3, 1, 'contiguous', 'zeros'),
    (2, 6, 3, 13, 29, 7, 2, 3, 1, 'interleaved', 'zeros'),
    (1, 5, 1, 9, 11, 3, 3, 0, 2, 'contiguous', 'zeros'),
    (1, 10, 2, 6, 8, 4, 1, 2, 1, 'contiguous', 'zeros'),  # an even kernel
    (1, 8, 2, 3, 2, 5, 1, 6, 3, 'contiguous', 'zeros'),  # windows beyond the map
    (2, 16, 2, 14, 13, 5, 1, 2, 1, 'interleaved', 'clamp'),
    (1, 16, 1, 14, 24, 13, 1, 6, 1, 'contiguous', 'clamp'),
    (1, 8, 1, 15, 11, 3, 1, 3, 3, 'contiguous', 'clamp'),
    (1, 8, 2, 10, 9, 3, 2, 1, 2, 'contiguous', 'clamp'),
]
# tensor cores of a large and of a small GPU; without; too little shared memory for strips
DEVICES = [dict(), dict(shared=48 << 10), dict(mma=False)]
CASES = [(t, d) for t in DTYPES for d in DEVICES if t != torch.float32]
CASES += [(torch.float32, dict()), (torch.float32, dict(shared=1 << 10))]


def run(shape, what, first, second, compiled=None, **options):
    """One pass: what is 'output', 'input' or 'weight'."""
    n, c, g, h, w, k, stride, padding, dilation, order, border = shape
    places = out_size(shape)
    name = 'emulated_involution' + ('' if what == 'output' else f'_{what}')
    sizes = {
        'output': (n, c, *places),
        'input': (n, c, h, w),
        'weight': (n, g, k, k, *places),
    }
    numbers = [n, c, g, h, w, k, *places, stride, padding, dilation]
    numbers += [order == 'interleaved', border == 'clamp']
    compiled = compiled or kernels('involution')
    return compiled.call(name, numbers, [first, second], sizes[what], **options)


def out_size(shape):
    h, w, k, stride, padding, dilation = shape[3:9]
    reach = dilation * (k - 1) + 1
    return [(size + 2 * padding - reach) // stride + 1 for size in (h, w)]


def make(shape, dtype, offset=0):
    n, c, g, h, w, k = shape[:6]
    generator = torch.Generator().manual_seed(0)
    places = out_size(shape)
    sizes = (n, c, h, w), (n, g, k, k, *places), (n, c, *places)
    x, weight, grad = (torch.randn(s, generator=generator) for s in sizes)
    return [guarded(t, dtype, offset) for t in (x, weight / k, grad)]


def expect(shape, x, weight, grad):
    x, weight = x.double().requires_grad_(), weight.double().requires_grad_()
    stride, padding, dilation, order, border = shape[6:]
    out = reference.involution(
        x,
        weight,
        stride=stride,
        padding=padding,
        dilation=dilation,
        order=order,
        border=border,
    )
    return out.detach(), *torch.autograd.grad(out, (x, weight), grad.double())


def passes(x, weight, grad):
    return ('output', x, weight), ('input', grad, weight), ('weight', x, grad)


@pytest.mark.parametrize('dtype, device', CASES, ids=str)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_agrees_with_float64_reference(shape, dtype, device):
    tensors = make(shape, dtype)
    expected = expect(shape, *tensors)
    for limit, exact, (what, *arrays) in zip(
        TOLERANCES['involution'][dtype], expected, passes(*tensors)
    ):
        for seed in range(3):  # threads run upwards, downwards, mixed
            actual = run(shape, what, *arrays, seed=seed, **device)
            assert_close(actual, exact, limit, what)


@pytest.mark.parametrize('width', [3, 6, 12, 24])
@pytest.mark.parametrize('offset', [0, 1, 2, 4])
def test_alignment_of_rows_and_tensors(width, offset):
    shape = (2, 16, 1, 5, width, 5, 1, 2, 1, 'contiguous', 'zeros')
    tensors = make(shape, torch.bfloat16, offset)
    for exact, (what, *arrays) in zip(expect(shape, *tensors), passes(*tensors)):
        assert_close(run(shape, what, *arrays), exact, 2e-2, what)


def test_does_not_depend_on_the_order_of_threads():
    shape = (2, 40, 1, 14, 14, 7, 1, 3, 1, 'contiguous', 'zeros')
    for what, *arrays in passes(*make(shape, torch.bfloat16)):
        found = [run(shape, what, *arrays, seed=s) for s in range(4)]
        assert all(torch.equal(found[0], other) for other in found)
