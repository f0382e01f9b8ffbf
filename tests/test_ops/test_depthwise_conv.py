from functools import partial

import pytest
import torch
from tolerances import TOLERANCES, assert_close

from smpconv_mm import ops
from smpconv_mm.ops import dispatch

# N, C, H, W, Kh, Kw
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (2, 3, 7, 7, 7, 7),
    (2, 5, 13, 29, 7, 3),
    (1, 4, 7, 5, 13, 31),  # map smaller than the kernel
    (3, 2, 14, 14, 27, 27),
    (1, 1, 16, 7, 31, 9),  # crashes oneDNN's gradient of the kernel
    (1, 5, 5, 40, 9, 31),  # oneDNN hangs in bfloat16
    (2, 6, 40, 40, 27, 27),  # too many terms for sums in float16
    (2, 8, 20, 24, 13, 13),
    (2, 19, 18, 20, 15, 17),
    (1, 3, 150, 11, 29, 5),  # cut into tiles
]


def run(function, tensors, probe):
    leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
    out = function(*leaves)
    wanted = [t for t in leaves if t is not None]
    grads = torch.autograd.grad((out * probe.to(out.dtype)).sum(), wanted)
    return out.detach(), *grads


def make(shape, dtype, bias=True):
    n, c, h, w, kh, kw = shape
    generator = torch.Generator().manual_seed(0)
    tensors = [
        torch.randn(n, c, h, w, generator=generator),
        torch.randn(c, 1, kh, kw, generator=generator) / (kh * kw) ** 0.5,
        torch.randn(c, generator=generator) if bias else None,
    ]
    probe = torch.randn(n, c, h, w, generator=generator)
    return [None if t is None else t.to(dtype) for t in tensors], probe.to(dtype)


def usable(dtype):
    """Backends that run on the CPU here."""
    args = torch.zeros(1, 2, 5, 5, dtype=dtype), torch.zeros(2, 1, 3, 3), None
    return [
        name
        for name in ops.backends('depthwise_conv2d')
        if dispatch.find('depthwise_conv2d', name).unsupported(*args) is None
    ]


USABLE = usable(torch.float32)
OWN = [backend for backend in USABLE if backend != 'conv2d']
BACKENDS = [
    (backend, dtype)
    for dtype in TOLERANCES['depthwise_conv2d']
    for backend in usable(dtype)
]


@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('backend, dtype', BACKENDS, ids=str)
def test_agrees_with_float64_reference(backend, dtype, shape):
    tensors, probe = make(shape, dtype)
    actual = run(lambda *t: ops.depthwise_conv2d(*t, backend=backend), tensors, probe)
    expected = run(
        ops.reference.depthwise_conv2d, [t.double() for t in tensors], probe.double()
    )
    out, dx, dw = TOLERANCES['depthwise_conv2d'][dtype]
    names = ('output', 'grad input', 'grad weight', 'grad bias')
    for a, e, t, name in zip(actual, expected, (out, dx, dw, dw), names):
        assert a.dtype == dtype
        assert_close(a, e, t, name)


def test_reference_by_hand():
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 0, 2] = 1  # looks one row up, one column right
    expected = torch.tensor([[0.0, 0, 0], [1, 2, 0]])
    assert torch.equal(ops.reference.depthwise_conv2d(x, weight)[0, 0], expected)
    assert torch.equal(ops.depthwise_conv2d(x, weight)[0, 0], expected)


@pytest.mark.parametrize(
    'layout',
    [
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: torch.cat([x, x], 1)[:, ::2][:, : x.shape[1]],
        lambda x: x[:1].expand_as(x),
        lambda x: x[:, :, ::2],
    ],
    ids=['channels_last', 'transposed', 'strided channels', 'expanded', 'strided rows'],
)
@pytest.mark.parametrize('kernel', [(7, 5), (21, 17)], ids=str)
@pytest.mark.parametrize('backend', OWN)
def test_any_memory_layout(backend, kernel, layout):
    (x, weight, bias), _ = make((2, 4, 13, 9, *kernel), torch.float32)
    x = layout(x)
    expected = ops.reference.depthwise_conv2d(
        x.double(), weight.double(), bias.double()
    )
    out = ops.depthwise_conv2d(x, weight, bias, backend=backend)
    assert_close(out, expected, 1e-5)
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('backend', USABLE)
def test_empty_batch(backend):
    (x, weight, _), _ = make((1, 3, 5, 5, 3, 3), torch.float32)
    x = x[:0].requires_grad_()
    out = ops.depthwise_conv2d(x, weight.requires_grad_(), backend=backend)
    assert out.shape == (0, 3, 5, 5)
    out.sum().backward()
    assert torch.equal(weight.grad, torch.zeros_like(weight))


@pytest.mark.parametrize('backend', usable(torch.float64))
@pytest.mark.parametrize('shape', [(2, 2, 5, 4, 3, 5), (1, 1, 9, 8, 15, 13)], ids=str)
def test_gradcheck(shape, backend):
    tensors, _ = make(shape, torch.float64)
    tensors = [t.requires_grad_() for t in tensors]
    function = partial(ops.depthwise_conv2d, backend=backend)
    assert torch.autograd.gradcheck(function, tensors)
    assert torch.autograd.gradgradcheck(function, tensors)


def test_gradient_of_the_bias_alone():
    (x, weight, bias), probe = make((2, 4, 9, 9, 5, 5), torch.float32)
    for backend in USABLE:
        leaf = bias.clone().requires_grad_()
        out = ops.depthwise_conv2d(x, weight, leaf, backend=backend)
        (out * probe).sum().backward()
        assert_close(leaf.grad, probe.double().sum((0, 2, 3)), 1e-5)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_autocast(dtype):
    tensors, _ = make((2, 4, 9, 9, 5, 5), torch.float32)
    with torch.autocast('cpu', dtype):
        out = ops.depthwise_conv2d(tensors[0].to(dtype), *tensors[1:])
    assert out.dtype == dtype
    assert_close(out, ops.reference.depthwise_conv2d(*tensors), 2e-2)


@pytest.mark.parametrize('shape', [*SHAPES, (0, 3, 5, 5, 3, 3)], ids=str)
@pytest.mark.parametrize('backend', OWN)
def test_operators_pass_opcheck(backend, shape):
    (x, weight, bias), grad = make(shape, torch.float32)
    tensors = [t.requires_grad_() for t in (x, weight, bias, grad)]
    x, weight, bias, grad = tensors
    ops_ = torch.ops.smpconv_mm
    for b, flip in ((bias, False), (None, True)):
        args = (x, weight, b, flip, backend)
        torch.library.opcheck(ops_.depthwise_conv2d.default, args)
    args = (x, grad, *weight.shape[2:], backend)
    torch.library.opcheck(ops_.depthwise_conv2d_weight.default, args)


@pytest.mark.parametrize('backend', OWN)
def test_derivatives_of_derivatives(backend):
    """Against autograd through the reference, in float64."""
    tensors, probe = make((2, 3, 9, 7, 5, 3), torch.float32, bias=False)
    x, weight, _ = tensors

    def second(function, x, weight, probe):
        x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
        out = function(x, weight)
        first = torch.autograd.grad(
            (out * probe).square().sum(), (x, weight), create_graph=True
        )
        total = sum((g**3).sum() for g in first)
        return torch.autograd.grad(total, (x, weight))

    own = partial(ops.depthwise_conv2d, backend=backend)
    actual = second(own, x, weight, probe)
    expected = second(
        ops.reference.depthwise_conv2d, x.double(), weight.double(), probe.double()
    )
    for a, e in zip(actual, expected):
        assert_close(a, e, 1e-4)


@pytest.mark.parametrize('backend', OWN)
def test_operations_are_counted(backend):
    from torch.utils.flop_counter import FlopCounterMode

    (x, weight, _), _ = make((2, 4, 9, 7, 5, 3), torch.float32)
    x.requires_grad_()
    weight.requires_grad_()
    with FlopCounterMode(display=False) as counter:
        ops.depthwise_conv2d(x, weight, backend=backend).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * x.numel() * 15
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ops.depthwise_conv2d(x, weight, backend=backend)
    assert counter.get_total_flops() == 2 * x.numel() * 15


class Net(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def forward(self, x):
        return ops.depthwise_conv2d(x, self.weight)


@pytest.mark.parametrize('shape', [(1, 4, 9, 9, 5, 5), (1, 4, 9, 9, 17, 17)], ids=str)
def test_exporters_see_a_plain_convolution(shape):
    """They, and those who count in a trace, need not know operators of ours."""
    (x, weight, _), _ = make(shape, torch.float32)
    graph = torch.export.export(Net(weight), (x,)).graph
    called = [str(n.target) for n in graph.nodes if n.op == 'call_function']
    traced = [
        n.kind() for n in torch.jit.trace(Net(weight), (x,)).inlined_graph.nodes()
    ]
    for names in (called, traced):
        assert any('conv' in name for name in names)
        assert not any('smpconv_mm' in name for name in names)


@pytest.mark.parametrize('k', [5, 17])
def test_compile_has_no_graph_break(k):
    compiled = torch.compile(ops.depthwise_conv2d, fullgraph=True, backend='aot_eager')
    tensors, probe = make((2, 4, 9, 9, k, k), torch.float32)
    for a, e in zip(
        run(compiled, tensors, probe), run(ops.depthwise_conv2d, tensors, probe)
    ):
        assert_close(a, e, 1e-6)


def test_meta_tensors_and_transforms():
    """By torch's own convolution, where ours has no rule."""
    (x, weight, bias), _ = make((2, 3, 7, 6, 3, 5), torch.float64)
    meta = [t.to('meta') for t in (x, weight, bias)]
    assert ops.depthwise_conv2d(*meta).shape == x.shape

    def loss(weight, x):
        return ops.depthwise_conv2d(x, weight, bias).square().sum()

    leaf = weight.clone().requires_grad_()
    loss(leaf, x).backward()
    assert_close(torch.func.grad(loss)(weight, x), leaf.grad, 1e-12)
    of_images = torch.func.vmap(torch.func.grad(loss), (None, 0))(weight, x[:, None])
    assert_close(of_images.sum(0), leaf.grad, 1e-12)
    many = torch.func.vmap(ops.depthwise_conv2d, (None, 0))(
        x, torch.stack([weight, 2 * weight])
    )
    assert_close(many[1], 2 * many[0], 1e-12)
    for backend in usable(torch.float64)[:-1]:
        forced = partial(ops.depthwise_conv2d, backend=backend)
        with pytest.raises(RuntimeError, match='transforms of torch.func'):
            torch.func.vmap(forced, (None, 0))(x, weight[None])


X = torch.zeros(1, 4, 5, 5)
W = torch.zeros(4, 1, 3, 3)


@pytest.mark.parametrize(
    'args, error, message',
    [
        ((X[0], W), ValueError, r'4 dimensions.*\(4, 5, 5\)'),
        ((X, W[:3]), ValueError, r'\(4, 1, Kh, Kw\).*\(3, 1, 3, 3\)'),
        ((X, W[..., :2]), ValueError, r'odd.*\(3, 2\)'),
        ((X[..., :0], W), ValueError, 'no area.*5 x 0'),
        ((X, W, torch.zeros(3)), ValueError, r'bias.*\(4,\).*\(3,\)'),
        ((X.int(), W.int()), TypeError, 'floating point.*int32'),
        ((X, W.double()), TypeError, 'share a dtype.*float32.*float64'),
        ((X.to('meta'), W), RuntimeError, 'one device.*meta.*cpu'),
    ],
)
def test_bad_input(args, error, message):
    with pytest.raises(error, match=message):
        ops.depthwise_conv2d(*args)


@pytest.mark.slow
@pytest.mark.parametrize('backend', USABLE)
def test_more_than_two_to_the_31_elements(backend):
    """Holds 9 GB; the maps between the first and the last are zero."""
    n = 8200
    x = torch.zeros(n, 64, 64, 64, dtype=torch.bfloat16)
    x = x.contiguous(memory_format=torch.channels_last)
    assert x.numel() > 2**31
    ends = torch.randn(2, 64, 64, 64).bfloat16()
    x[0], x[-1] = ends
    weight = torch.randn(64, 1, 9, 9).bfloat16()
    with torch.no_grad():
        out = ops.depthwise_conv2d(x, weight, backend=backend)
        expected = ops.depthwise_conv2d(ends, weight, backend=backend)
    assert torch.equal(out[0], expected[0]) and torch.equal(out[-1], expected[1])
    assert not any(out[i].any() for i in (1, n // 2, n - 2))
