"""The CUDA kernels of the involution, run by the emulator."""

import functools

import pytest
import torch
from test_cuda_ops.emulated import (
    CUDA_OPS,
    EmulatorError,
    Kernels,
    guarded,
    kernels,
    needs_compiler,
)
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
# tensor cores of a large and of a small GPU; without
DEVICES = [dict(), dict(shared=48 << 10), dict(mma=False)]
CASES = [(t, d) for t in DTYPES for d in DEVICES if t != torch.float32]
# strips, and too little shared memory for them
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


# Mistakes that the tests above must find: (what, file, old, new, which pass).
DEVICE, MMA = 'involution_device.cuh', 'involution_mma_kernel.cuh'
STRIP, SIMT = 'involution_strip_kernel.cuh', 'involution_simt_kernel.cuh'
MUTANTS = [
    ('no barrier after loading', MMA,
     '  copy_wait();\n  __syncthreads();\n\n  const int eights = '
     'ceil_div(b.columns.size(), kMmaOutputs);\n  const int bands',
     '  copy_wait();\n\n  const int eights = '
     'ceil_div(b.columns.size(), kMmaOutputs);\n  const int bands', 'output'),
    ('no wait for the copies', MMA, '  copy_wait();\n  __syncthreads();\n',
     '  __syncthreads();\n', 'input'),
    ('last line of sources lost', MMA, 'line < lines.last; ++line',
     'line < lines.last - 1; ++line', 'output'),
    ('last product of a row lost', MMA, 'at < from.last - source_left;',
     'at < from.last - source_left - kMmaPlaces;', 'input'),
    ('one column too many is written', MMA, 'j < columns.last && channel',
     'j <= columns.last && channel', 'output'),
    ('a row below the map is read', MMA, 'row >= 0 && row < height;',
     'row >= 0 && row <= height;', 'weight'),
    ('matrix not transposed', MMA, 'load_matrices<true>(a, line',
     'load_matrices<false>(a, line', 'weight'),
    ('slopes of the first channels only', MMA, 'if (t.members > kMmaChannels)',
     'if (false)', 'weight'),
    ('no barrier before writing', MMA, '  __syncthreads();\n\n  const int64_t outputs',
     '\n  const int64_t outputs', 'weight'),
    ('taps at the wrong rows', MMA, 'weight_rows_of<Transposed>(s, b.rows, u).first)',
     'b.rows.first)', 'input'),
    ('no barrier after loading (strips)', STRIP,
     '  __syncthreads();\n  const int height', '  const int height', 'strip output'),
    ('taps not turned round (strips)', STRIP, 'K - 1 - v : u * K + v',
     'v : u * K + v', 'strip input'),
    ('a column of the window lost (strips)', STRIP, 'e < strip_reach<K>(); e += 4',
     'e < strip_reach<K>() - 4; e += 4', 'strip weight'),
    ('last column written twice (strips)', STRIP, 'if (column + e < width) to[e]',
     'to[e]', 'strip output'),
    ('window not moved (SIMT)', DEVICE, 'if (over > 0) first -=',
     'if (over > 9) first -=', 'simt output'),
    ('readers of moved windows forgotten (SIMT)', DEVICE,
     'o.last = outputs;', 'o.last = o.last;', 'simt input'),
    ('last channel forgotten (SIMT)', SIMT, 'member < group_width(s); ++member',
     'member < group_width(s) - 1; ++member', 'simt weight'),
]  # fmt: skip

# several tiles of rows and columns, more tasks than warps, 20 channels in a group
HARD = {
    'tensor cores': (1, 40, 2, 21, 76, 5, 1, 2, 1, 'contiguous', 'zeros'),
    'strip': (1, 16, 1, 9, 11, 7, 1, 3, 1, 'contiguous', 'zeros'),
    'simt': (1, 6, 2, 9, 12, 5, 1, 2, 1, 'interleaved', 'clamp'),
}


@functools.lru_cache
def hard_case(kind):
    dtype = torch.float32 if kind == 'strip' else torch.bfloat16
    tensors = make(HARD[kind], dtype)
    return tensors, dict(
        zip(('output', 'input', 'weight'), expect(HARD[kind], *tensors))
    )


def find_mistake(compiled, what, seed):
    kind, what = what.split() if ' ' in what else ('tensor cores', what)
    tensors, expected = hard_case(kind)
    arrays = {name: two for name, *two in passes(*tensors)}[what]
    options = dict(seed=seed, mma=kind != 'simt')
    actual = run(HARD[kind], what, *arrays, compiled=compiled, **options)
    limit = 1e-5 if kind == 'strip' else 1e-2
    assert_close(actual, expected[what], limit, what)


@pytest.mark.parametrize('what', sorted({m[-1] for m in MUTANTS}))
def test_finds_nothing_without_mistake(what):
    for seed in range(3):
        find_mistake(kernels('involution'), what, seed)


@pytest.mark.parametrize('mutant', MUTANTS, ids=[m[0] for m in MUTANTS])
def test_finds_planted_mistake(mutant, tmp_path):
    _, name, old, new, what = mutant
    for source in (CUDA_OPS / 'csrc' / 'cuda').glob('*.cuh'):
        text = source.read_text()
        if source.name == name:
            assert old in text, 'the mistake no longer fits the code'
            text = text.replace(old, new)
        (tmp_path / source.name).write_text(text)
    only = [] if what.startswith('strip') else ['-DSMPCONV_MM_ONLY_BFLOAT16']
    compiled = Kernels('involution', tmp_path, *only)
    with pytest.raises((AssertionError, EmulatorError)):
        for seed in range(3):
            find_mistake(compiled, what, seed)
