"""The oriented convolution on a GPU; skipped where there is none."""

import math

import pytest
import torch
from tolerances import TOLERANCES, assert_close

from smpconv_mm import ops
from smpconv_mm.ops.extension import why_not

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or why_not('oriented_conv2d', 'cuda') is not None,
    reason='no GPU'
    if not torch.cuda.is_available()
    else str(why_not('oriented_conv2d', 'cuda')),
)

# N, C, H, W, taps, stride
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (64, 96, 56, 56, 31, 1),
    (64, 192, 28, 28, 31, 1),
    (64, 384, 14, 14, 31, 1),
    (64, 768, 7, 7, 13, 1),
    (1, 96, 56, 56, 31, 1),
    (3, 5, 13, 29, 15, 1),
    (17, 9, 7, 5, 63, 1),
    (2, 8, 100, 152, 31, 1),
    (2, 3, 37, 301, 63, 1),
    (8, 64, 224, 224, 15, 2),
    (2, 64, 113, 75, 31, 2),
    (1, 3, 50, 41, 9, 17),
    (0, 4, 8, 8, 7, 1),
]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def make(shape, dtype):
    n, c, h, w, taps, stride = shape
    out = -(-h // stride), -(-w // stride)
    generator = torch.Generator('cuda').manual_seed(0)
    make = dict(device='cuda', generator=generator)
    x = torch.randn(n, c, h, w, **make)
    weight = torch.randn(c, 1, 1, taps, **make) / taps**0.5
    bias = torch.randn(c, **make)
    grad = torch.randn(n, c, *out, **make)
    return [t.to(dtype) for t in (x, weight, bias, grad)]


def directions(channels):
    """The eight of the networks, then any; contiguous groups are not needed."""
    angle = torch.arange(channels, device='cuda') * (math.pi / 8)
    angle[8:] *= 1.37
    return angle


def run(x, weight, bias, grad, stride=1, backend='cuda'):
    x, weight, bias = (t.detach().requires_grad_() for t in (x, weight, bias))
    angle = directions(x.shape[1])
    out = ops.oriented_conv2d(x, weight, angle, bias, stride=stride, backend=backend)
    return out.detach(), *torch.autograd.grad(out, (x, weight, bias), grad)


@pytest.mark.parametrize('layout', LAYOUTS, ids=['nchw', 'nhwc'])
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_agrees_with_float64(shape, dtype, layout):
    x, weight, bias, grad = make(shape, dtype)
    # float64 is slow: the channels of the first directions are enough
    some = slice(0, 10)
    maps = [t[:, some].double() for t in (x, grad)]
    expected = run(
        maps[0], weight[some].double(), bias[some].double(), maps[1], shape[-1], 'dense'
    )
    x, grad = (t.contiguous(memory_format=layout) for t in (x, grad))
    actual = run(x, weight, bias, grad, shape[-1])
    assert actual[0].numel() == 0 or actual[0].is_contiguous(memory_format=layout)
    out, dx, dw = TOLERANCES['oriented_conv2d'][dtype]
    assert_close(actual[0][:, some], expected[0], out, 'output')
    assert_close(actual[1][:, some], expected[1], dx, 'grad input')
    assert_close(actual[2][some], expected[2], dw, 'grad weight')
    assert_close(actual[3][some], expected[3], dw, 'grad bias')


@pytest.mark.parametrize('degrees', [0, 30, 60, 90, 120, 180, 270, -90])
def test_taps_lie_where_the_definition_says(degrees):
    x = torch.zeros(1, 1, 41, 41, device='cuda')
    x[0, 0, 20, 20] = 1
    weight = 2.0 ** torch.arange(-15, 16, device='cuda').view(1, 1, 1, 31)
    angle = torch.tensor([math.radians(degrees)])
    out = ops.oriented_conv2d(x, weight, angle.cuda(), backend='cuda')
    expected = ops.reference.oriented_conv2d(
        x.cpu().double(), weight.cpu().double(), angle
    )
    assert torch.equal(out.cpu().double(), expected)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_strides(dtype):
    x, weight, bias, grad = make((3, 5, 12, 16, 13, 1), dtype)
    expected = run(x, weight, bias, grad)
    wide = x.new_zeros(*x.shape[:3], x.shape[3] + 3)
    wide[..., 1:-2] = x
    offset = torch.cat([x.new_zeros(1), x.flatten()])[1:].view_as(x)
    mixed = grad.contiguous(memory_format=torch.channels_last)
    for maps, slope in ((wide[..., 1:-2], grad), (offset, grad), (x, mixed)):
        actual = run(maps, weight, bias, slope)
        assert all(torch.equal(a, e) for a, e in zip(actual[:3], expected))


@pytest.mark.parametrize('layout', LAYOUTS, ids=['nchw', 'nhwc'])
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_gives_the_same_bits_every_time(dtype, layout):
    x, weight, bias, grad = make((40, 24, 28, 28, 31, 1), dtype)
    x, grad = (t.contiguous(memory_format=layout) for t in (x, grad))
    torch.use_deterministic_algorithms(True)
    try:
        first = run(x, weight, bias, grad)
        for _ in range(5):
            again = run(x, weight, bias, grad)
            assert all(torch.equal(a, b) for a, b in zip(first[:3], again))
    finally:
        torch.use_deterministic_algorithms(False)


def test_cuda_graph_and_new_angles():
    x, weight, _, _ = make((4, 8, 28, 28, 31, 1), torch.float32)
    angle = directions(8)
    call = lambda: ops.oriented_conv2d(x, weight, angle, backend='cuda')  # noqa: E731
    with torch.no_grad():
        call()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = call()
        angle += 0.3  # nothing is kept of the angles before
        graph.replay()
        assert torch.equal(captured, call())


def test_compile_and_autocast():
    x, weight, bias, _ = make((4, 8, 14, 14, 31, 1), torch.float32)
    angle = directions(8)
    compiled = torch.compile(
        lambda *t: ops.oriented_conv2d(*t, backend='cuda'), fullgraph=True
    )
    with torch.autocast('cuda', torch.bfloat16):
        actual = compiled(x, weight, angle, bias)
    assert actual.dtype == torch.bfloat16
    x, weight, bias = (t.bfloat16() for t in (x, weight, bias))
    wanted = ops.oriented_conv2d(x, weight, angle, bias, backend='cuda')
    assert torch.equal(actual, wanted)


def test_gradient_of_the_gradient():
    x, weight, _, grad = make((2, 3, 9, 9, 7, 2), torch.float32)
    results = []
    for backend, dtype in (('cuda', torch.float32), ('dense', torch.float64)):
        a, b = (t.detach().to(dtype).requires_grad_() for t in (x, weight))
        out = ops.oriented_conv2d(a, b, directions(3), stride=2, backend=backend)
        first = torch.autograd.grad(out, (a, b), grad.to(dtype), create_graph=True)
        results.append(torch.autograd.grad(sum((t**2).sum() for t in first), (a, b)))
    for actual, expected in zip(*results):
        assert_close(actual, expected, 1e-4)


def test_a_nan_angle_is_not_hidden():
    x, weight, _, _ = make((1, 3, 9, 9, 7, 1), torch.float32)
    angle = directions(3)
    angle[1] = math.nan
    out = ops.oriented_conv2d(x, weight, angle, backend='cuda')
    assert out[:, 1].isnan().all() and out[:, ::2].isfinite().all()


def test_refuses_what_it_cannot():
    x, weight, _, _ = make((1, 2, 5, 5, 7, 1), torch.float32)
    angle = directions(2)
    with pytest.raises(RuntimeError, match='float64'):
        ops.oriented_conv2d(x.double(), weight.double(), angle, backend='cuda')
    with pytest.raises(RuntimeError, match='65'):
        ops.oriented_conv2d(x, x.new_zeros(2, 1, 1, 65), angle, backend='cuda')
    assert torch.equal(
        ops.oriented_conv2d(x, weight, angle),
        ops.oriented_conv2d(x, weight, angle, backend='cuda'),
    )
