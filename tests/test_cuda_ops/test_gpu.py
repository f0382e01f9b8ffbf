"""The depthwise convolution on a GPU; skipped where there is none."""

import pytest
import torch
from tolerances import TOLERANCES, assert_close

from smpconv_mm import ops
from smpconv_mm.ops.extension import use_plan, why_not

NO_KERNELS = why_not('depthwise_conv2d', 'cuda')
pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or NO_KERNELS is not None,
    reason='no GPU' if not torch.cuda.is_available() else str(NO_KERNELS),
)

SHAPES = [
    (1, 1, 1, 1, 7, 7),
    (64, 96, 56, 56, 31, 31),
    (64, 192, 28, 28, 29, 29),
    (64, 384, 14, 14, 27, 27),
    (64, 768, 7, 7, 13, 13),
    (1, 96, 56, 56, 31, 31),
    (3, 5, 13, 29, 7, 3),
    (17, 4, 7, 5, 13, 31),
    (2, 8, 100, 152, 31, 31),
    (2, 3, 37, 301, 63, 51),
    (0, 4, 8, 8, 7, 7),
]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def make(shape, dtype):
    n, c, h, w, kh, kw = shape
    generator = torch.Generator('cuda').manual_seed(0)
    make = dict(device='cuda', generator=generator)
    x = torch.randn(n, c, h, w, **make)
    weight = torch.randn(c, 1, kh, kw, **make) / (kh * kw) ** 0.5
    bias = torch.randn(c, **make)
    grad = torch.randn(n, c, h, w, **make)
    return [t.to(dtype) for t in (x, weight, bias, grad)]


def run(x, weight, bias, grad, backend='cuda'):
    x, weight, bias = (t.detach().requires_grad_() for t in (x, weight, bias))
    out = ops.depthwise_conv2d(x, weight, bias, backend=backend)
    return out.detach(), *torch.autograd.grad(out, (x, weight, bias), grad)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_agrees_with_float64(shape, dtype):
    tensors = make(shape, dtype)
    actual = run(*tensors)
    # a few channels are enough, and float64 is slow
    some = [t.double()[:, :2] if t.dim() == 4 else t.double() for t in tensors]
    some[1], some[2] = tensors[1].double()[:2], tensors[2].double()[:2]
    expected = run(*some, backend='conv2d')
    out, dx, dw = TOLERANCES['depthwise_conv2d'][dtype]
    assert_close(actual[0][:, :2], expected[0], out, 'output')
    assert_close(actual[1][:, :2], expected[1], dx, 'grad input')
    assert_close(actual[2][:2], expected[2], dw, 'grad weight')
    assert_close(actual[3][:2], expected[3], dw, 'grad bias')


PLANS = ['conv:warps=2', 'conv:shared=60000', 'weight:splits=1', 'weight:warps=4']


@pytest.mark.parametrize('plan', PLANS)
def test_plan_of_the_caller(plan):
    tensors = make((40, 3, 14, 14, 13, 13), torch.bfloat16)
    expected = run(*tensors)
    with use_plan(plan):
        actual = run(*tensors)
    for a, e, limit in zip(
        actual, expected, TOLERANCES['depthwise_conv2d'][torch.bfloat16]
    ):
        assert_close(a, e.double(), limit)


@pytest.mark.parametrize(
    'plan, message',
    [
        ('conv:warp=2', '"warp" is no setting of conv'),
        ('forward:warps=2', 'must begin with a pass'),
        ('conv:warps=two', 'positive whole number'),
        ('conv:shared=16', 'does not fit'),
    ],
)
def test_wrong_plans_are_refused(plan, message):
    tensors = make((2, 3, 9, 9, 7, 7), torch.bfloat16)
    with use_plan(plan), pytest.raises(RuntimeError, match=message):
        run(*tensors)
    run(*tensors)


def call(x, weight, bias=None):
    return torch.ops.smpconv_mm_ext.depthwise_conv2d(x, weight, bias)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda x, w, b: (x.cpu(), w, b), 'input must be on a GPU'),
        (lambda x, w, b: (x, w.cpu(), b), 'weight must be on the input'),
        (lambda x, w, b: (x, w, b.cpu()), 'bias must be on the input'),
        (lambda x, w, b: (x[0], w, b), 'of 4 dimensions'),
        (lambda x, w, b: (x, w[0], b), 'weight must be'),
        (lambda x, w, b: (x, w, b[:, None]), 'bias must have shape'),
        (lambda x, w, b: (x, w, b.half()), "bias must have the input's dtype"),
        (lambda x, w, b: (x.mT, w, b), 'must be contiguous'),  # nor channels-last
    ],
)
def test_operators_check_by_themselves(change, message):
    x, weight, bias, _ = make((2, 3, 9, 8, 7, 7), torch.bfloat16)
    with pytest.raises(RuntimeError, match=message):
        call(*change(x, weight, bias))


def test_gradient_of_another_shape():
    x, _, _, grad = make((2, 3, 9, 8, 7, 7), torch.bfloat16)
    with pytest.raises(RuntimeError, match='gradient must have shape'):
        torch.ops.smpconv_mm_ext.depthwise_conv2d_weight(x, grad.view(2, 3, 8, 9), 7, 7)


def layouts(x):
    wide = x.new_zeros(*x.shape[:3], x.shape[3] + 3)
    wide[..., 1:-2] = x
    return {
        'channels_last': x.contiguous(memory_format=torch.channels_last),
        'slice': wide[..., 1:-2],
        'transposed': x.transpose(2, 3).contiguous().transpose(2, 3),
        'offset': torch.cat([x.new_zeros(1), x.flatten()])[1:].view_as(x),
    }


@pytest.mark.parametrize('name', ['channels_last', 'slice', 'transposed', 'offset'])
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_strides(dtype, name):
    x, weight, bias, grad = make((3, 5, 12, 16, 13, 13), dtype)
    expected = run(x, weight, bias, grad)
    actual = run(layouts(x)[name], weight, bias, layouts(grad)[name])
    if name == 'channels_last':  # the format of the input is kept
        assert all(
            t.is_contiguous(memory_format=torch.channels_last) for t in actual[:2]
        )
    assert all(torch.equal(a, e) for a, e in zip(actual[:3], expected[:3]))
    # torch's sum, whose order depends on the strides
    assert_close(
        actual[3], expected[3].double(), TOLERANCES['depthwise_conv2d'][dtype][2]
    )


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_channels_last(shape, dtype):
    x, weight, bias, grad = make(shape, dtype)
    if not x.numel():
        pytest.skip('no maps')
    expected = run(x, weight, bias, grad)
    last = [t.contiguous(memory_format=torch.channels_last) for t in (x, grad)]
    for first, second in ((last[0], last[1]), (last[0], grad), (x, last[1])):
        actual = run(first, weight, bias, second)
        assert all(torch.equal(a, e) for a, e in zip(actual[:3], expected[:3]))


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_gives_the_same_bits_every_time(dtype):
    tensors = make((40, 24, 28, 28, 29, 29), dtype)
    torch.use_deterministic_algorithms(True)
    try:
        first = run(*tensors)
        assert all(
            torch.equal(a, b)
            for _ in range(5)
            for a, b in zip(first[:3], run(*tensors))
        )
    finally:
        torch.use_deterministic_algorithms(False)


def test_runs_on_the_current_stream():
    x, weight, bias, grad = make((16, 8, 28, 28, 29, 29), torch.bfloat16)
    expected = run(x, weight, bias, grad)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    late = torch.zeros_like(x)
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)
        late.copy_(x)  # a kernel on another stream would read the zeros
        actual = run(late, weight, bias, grad)
    torch.cuda.current_stream().wait_stream(side)
    assert all(torch.equal(a, e) for a, e in zip(actual, expected))


def test_cuda_graph():
    x, weight, bias, grad = make((16, 8, 28, 28, 29, 29), torch.bfloat16)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run(x, weight, bias, grad)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run(x, weight, bias, grad)
    x.copy_(torch.randn_like(x))
    expected = run(x, weight, bias, grad)
    graph.replay()
    assert all(torch.equal(a, e) for a, e in zip(captured, expected))


def test_compile_and_autocast():
    x, weight, bias, _ = make((4, 8, 14, 14, 27, 27), torch.float32)
    compiled = torch.compile(
        lambda *t: ops.depthwise_conv2d(*t, backend='cuda'), fullgraph=True
    )
    with torch.autocast('cuda', torch.bfloat16):
        actual = compiled(x, weight, bias)
    assert actual.dtype == torch.bfloat16
    halves = [t.bfloat16() for t in (x, weight, bias)]
    assert torch.equal(actual, ops.depthwise_conv2d(*halves, backend='cuda'))


def test_is_chosen_for_large_kernels():
    x, weight, bias, _ = make((2, 3, 9, 9, 7, 7), torch.bfloat16)
    out = ops.depthwise_conv2d(x, weight, bias)
    assert torch.equal(out, ops.depthwise_conv2d(x, weight, bias, backend='cuda'))


def test_gradient_of_the_bias_alone():
    x, weight, bias, grad = make((2, 3, 9, 9, 7, 7), torch.float32)
    out = ops.depthwise_conv2d(x, weight, bias.requires_grad_(), backend='cuda')
    (found,) = torch.autograd.grad(out, bias, grad)
    assert_close(found, grad.double().sum((0, 2, 3)), 1e-5)


def test_gradient_of_the_gradient():
    x, weight, _, grad = make((2, 3, 9, 9, 7, 7), torch.float32)
    results = []
    for backend, dtype in (('cuda', torch.float32), ('conv2d', torch.float64)):
        a, b = (t.detach().to(dtype).requires_grad_() for t in (x, weight))
        out = ops.depthwise_conv2d(a, b, backend=backend)
        first = torch.autograd.grad(out, (a, b), grad.to(dtype), create_graph=True)
        results.append(torch.autograd.grad(sum((t**2).sum() for t in first), (a, b)))
    for actual, expected in zip(*results):
        assert_close(actual, expected, 1e-4)


def test_refuses_what_it_cannot():
    x, weight, _, _ = make((1, 2, 5, 5, 7, 7), torch.float32)
    with pytest.raises(RuntimeError, match='float64'):
        ops.depthwise_conv2d(x.double(), weight.double(), backend='cuda')
    with pytest.raises(RuntimeError, match='65'):
        ops.depthwise_conv2d(x, x.new_zeros(2, 1, 65, 65), backend='cuda')


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='one GPU')
def test_runs_on_the_device_of_its_tensors():
    tensors = make((2, 3, 9, 9, 7, 7), torch.bfloat16)
    expected = run(*tensors)
    actual = run(*(t.to('cuda:1') for t in tensors))  # while cuda:0 is current
    for a, e in zip(actual, expected):
        assert a.device == torch.device('cuda:1')
        assert_close(a.cpu(), e.cpu(), 1e-2)
