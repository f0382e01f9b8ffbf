"""The involution on a GPU, by our kernels and by CuPy's; skipped without a GPU."""

from importlib.util import find_spec

import pytest
import torch
from test_cuda_ops.involution_cases import SHAPES, expect, make
from tolerances import TOLERANCES, assert_close

from smpconv_mm import ops
from smpconv_mm.ops.extension import why_not

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')

NOT_BUILT = why_not('involution', 'cuda')
needs_build = pytest.mark.skipif(NOT_BUILT is not None, reason=str(NOT_BUILT))
needs_cupy = pytest.mark.skipif(find_spec('cupy') is None, reason='no CuPy')
BACKENDS = [
    pytest.param('cuda', marks=needs_build),
    pytest.param('cupy', marks=needs_cupy),
]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# stages of RedNet, a map of a detector, every 16 channels a group
LARGE = [
    (4, 64, 4, 56, 56, 7, 1, 3, 1, 'contiguous', 'zeros'),
    (4, 128, 8, 56, 56, 7, 2, 3, 1, 'contiguous', 'zeros'),
    (4, 256, 16, 14, 14, 7, 1, 3, 1, 'contiguous', 'zeros'),
    (4, 512, 32, 7, 7, 7, 1, 3, 1, 'contiguous', 'zeros'),
    (1, 64, 4, 100, 152, 7, 1, 3, 1, 'contiguous', 'zeros'),
    (2, 64, 8, 28, 28, 3, 1, 1, 1, 'interleaved', 'zeros'),  # as in LSNet
    (2, 64, 8, 28, 28, 13, 1, 6, 1, 'contiguous', 'clamp'),  # as in OverLoCK
]


def on_gpu(shape, dtype):
    return [t.cuda().to(dtype) for t in make(shape, torch.float32)]


def run(shape, x, weight, grad, backend):
    x, weight = (t.detach().requires_grad_() for t in (x, weight))
    stride, padding, dilation, order, border = shape[6:]
    out = ops.involution(
        x,
        weight,
        stride=stride,
        padding=padding,
        dilation=dilation,
        order=order,
        border=border,
        backend=backend,
    )
    return out.detach(), *torch.autograd.grad(out, (x, weight), grad)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('shape', [*SHAPES, *LARGE], ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_agrees_with_float64(shape, dtype, backend):
    tensors = on_gpu(shape, dtype)
    actual = run(shape, *tensors, backend)
    expected = run(shape, *(t.double() for t in tensors), 'shift')
    if shape in SHAPES:
        for a, e in zip(expected, expect(shape, *(t.cpu() for t in tensors))):
            assert_close(a.cpu(), e, 1e-12)
    for a, e, t, name in zip(
        actual, expected, TOLERANCES['involution'][dtype], ('out', 'dx', 'dw')
    ):
        assert a.dtype == dtype
        assert_close(a, e, t, name)


@pytest.mark.parametrize('shape', [SHAPES[1], SHAPES[7], SHAPES[11]], ids=str)
def test_float64_by_cupy(shape):
    pytest.importorskip('cupy')
    tensors = on_gpu(shape, torch.float64)
    for a, e in zip(run(shape, *tensors, 'cupy'), run(shape, *tensors, 'shift')):
        assert_close(a, e, 1e-12)


def layouts(x):
    wide = x.new_zeros(*x.shape[:-1], x.shape[-1] + 3)
    wide[..., 1:-2] = x
    return {
        'slice': wide[..., 1:-2],
        'transposed': x.transpose(-2, -1).contiguous().transpose(-2, -1),
        'offset': torch.cat([x.new_zeros(1), x.flatten()])[1:].view_as(x),
        'channels_last': x.movedim(1, -1).contiguous().movedim(-1, 1),
    }


@pytest.mark.parametrize('name', ['slice', 'transposed', 'offset', 'channels_last'])
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_strides(backend, dtype, name):
    shape = (2, 32, 2, 12, 16, 7, 1, 3, 1, 'contiguous', 'zeros')
    tensors = on_gpu(shape, dtype)
    expected = run(shape, *tensors, backend)
    actual = run(shape, *(layouts(t)[name] for t in tensors), backend)
    for a, e in zip(actual, expected):
        if name == 'offset':  # other alignment, other order of the sums
            assert_close(a, e, TOLERANCES['involution'][dtype][0])
        else:
            assert torch.equal(a, e)


@pytest.mark.parametrize('backend', BACKENDS)
def test_empty_batch(backend):
    shape = (0, 32, 2, 12, 16, 7, 1, 3, 1, 'contiguous', 'zeros')
    for t in run(shape, *on_gpu(shape, torch.float32), backend):
        assert t.numel() == 0


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_gives_the_same_bits_every_time(backend, dtype):
    shape = (8, 64, 4, 28, 28, 7, 1, 3, 1, 'contiguous', 'zeros')
    tensors = on_gpu(shape, dtype)
    first = run(shape, *tensors, backend)
    for _ in range(5):
        again = run(shape, *tensors, backend)
        assert all(torch.equal(a, b) for a, b in zip(first, again))


@pytest.mark.parametrize('backend', BACKENDS)
def test_runs_on_the_current_stream(backend):
    shape = (4, 32, 2, 28, 28, 7, 1, 3, 1, 'contiguous', 'zeros')
    x, weight, grad = on_gpu(shape, torch.bfloat16)
    expected = run(shape, x, weight, grad, backend)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    late = torch.zeros_like(x)
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)
        late.copy_(x)  # a kernel on another stream would read the zeros
        actual = run(shape, late, weight, grad, backend)
    torch.cuda.current_stream().wait_stream(side)
    assert all(torch.equal(a, e) for a, e in zip(actual, expected))


@pytest.mark.parametrize('backend', BACKENDS)
def test_cuda_graph(backend):
    shape = (4, 32, 2, 28, 28, 7, 1, 3, 1, 'contiguous', 'zeros')
    x, weight, grad = on_gpu(shape, torch.bfloat16)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run(shape, x, weight, grad, backend)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run(shape, x, weight, grad, backend)
    x.copy_(torch.randn_like(x))
    expected = run(shape, x, weight, grad, backend)
    graph.replay()
    assert all(torch.equal(a, e) for a, e in zip(captured, expected))


@pytest.mark.parametrize('backend', BACKENDS)
def test_compile_and_autocast(backend):
    shape = (2, 32, 2, 14, 14, 7, 1, 3, 1, 'contiguous', 'zeros')
    x, weight, _ = on_gpu(shape, torch.float32)
    compiled = torch.compile(
        lambda *t: ops.involution(*t, backend=backend), fullgraph=True
    )
    with torch.autocast('cuda', torch.bfloat16):
        actual = compiled(x, weight)
    halves = x.bfloat16(), weight.bfloat16()
    assert torch.equal(actual, ops.involution(*halves, backend=backend))


@pytest.mark.parametrize('backend', BACKENDS)
def test_gradient_of_the_gradient(backend):
    shape = (2, 32, 2, 9, 9, 5, 1, 2, 1, 'contiguous', 'zeros')
    x, weight, grad = on_gpu(shape, torch.float32)
    results = []
    for name, dtype in ((backend, torch.float32), ('shift', torch.float64)):
        a, b = (t.detach().to(dtype).requires_grad_() for t in (x, weight))
        out = ops.involution(a, b, backend=name)
        first = torch.autograd.grad(out, (a, b), grad.to(dtype), create_graph=True)
        results.append(torch.autograd.grad(sum((t**2).sum() for t in first), (a, b)))
    for actual, expected in zip(*results):
        assert_close(actual, expected, 1e-4)


@needs_build
def test_is_chosen_and_refuses_float64():
    shape = SHAPES[1]
    x, weight, _ = on_gpu(shape, torch.bfloat16)
    expected = ops.involution(x, weight, backend='cuda')
    assert torch.equal(ops.involution(x, weight), expected)
    with pytest.raises(RuntimeError, match='float64'):
        ops.involution(x.double(), weight.double(), backend='cuda')


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='one GPU')
@pytest.mark.parametrize('backend', BACKENDS)
def test_runs_on_the_device_of_its_tensors(backend):
    shape = SHAPES[1]
    tensors = on_gpu(shape, torch.bfloat16)
    expected = run(shape, *tensors, backend)
    actual = run(shape, *(t.to('cuda:1') for t in tensors), backend)
    for a, e in zip(actual, expected):
        assert a.device == torch.device('cuda:1')
        assert_close(a.cpu(), e.cpu(), 1e-2)
