from functools import partial
from pathlib import Path

import pytest
import torch
from tolerances import TOLERANCES, assert_close

from smpconv_mm import ops
from smpconv_mm.ops import dispatch
from smpconv_mm.ops.extension import why_not
from smpconv_mm.ops.involution.operator import out_size

GOLDEN = Path(__file__).parents[1] / 'golden' / 'cvolution'
# N, C, G, H, W, K, options
SHAPES = [
    (1, 1, 1, 1, 1, 1, {}),
    (2, 32, 2, 7, 7, 7, {}),
    (2, 48, 2, 13, 29, 3, {}),
    (1, 5, 5, 3, 2, 7, {}),  # a map smaller than the kernel
    (1, 21, 1, 40, 17, 5, {}),
    (2, 16, 1, 14, 12, 7, dict(stride=2)),
    (2, 6, 3, 13, 29, 7, dict(stride=2, order='interleaved')),
    (1, 4, 2, 11, 9, 3, dict(stride=3, padding=0, dilation=2)),
    (2, 8, 2, 10, 12, 5, dict(dilation=3)),
    (1, 10, 2, 6, 8, 4, dict(padding=2)),  # an even kernel
    (2, 16, 2, 14, 13, 5, dict(order='interleaved', border='clamp')),
    (1, 8, 1, 15, 11, 3, dict(dilation=3, border='clamp')),
    (1, 8, 2, 10, 9, 3, dict(stride=2, dilation=2, border='clamp')),
    (1, 4, 1, 7, 9, 7, dict(border='clamp')),  # a map as large as the kernel
]
USABLE = [
    backend
    for backend in ops.backends('involution')
    if backend not in ('cuda', 'cupy')
    and (backend != 'cpp' or why_not('involution', 'cpu') is None)
]
OWN = [backend for backend in USABLE if backend != 'unfold']
DTYPES = list(TOLERANCES['involution'])


def make(shape, dtype):
    n, c, g, h, w, k, options = shape
    stride, dilation = options.get('stride', 1), options.get('dilation', 1)
    padding = options.get('padding', dilation * (k - 1) // 2)
    places = [out_size(size, k, stride, padding, dilation) for size in (h, w)]
    generator = torch.Generator().manual_seed(0)
    sizes = (n, c, h, w), (n, g, k, k, *places), (c,), (n, c, *places)
    x, weight, bias, probe = (torch.randn(s, generator=generator) for s in sizes)
    tensors = [t.to(dtype) for t in (x, weight / k, bias)]
    return tensors, probe.to(dtype), options


def run(function, tensors, probe):
    leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
    out = function(*leaves)
    wanted = [t for t in leaves if t is not None]
    return out.detach(), *torch.autograd.grad(out, wanted, probe.to(out.dtype))


@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('backend', USABLE)
def test_agrees_with_float64_reference(backend, dtype, shape):
    tensors, probe, options = make(shape, dtype)
    actual = run(partial(ops.involution, backend=backend, **options), tensors, probe)
    expected = run(
        partial(ops.reference.involution, **options),
        [t.double() for t in tensors],
        probe.double(),
    )
    out, dx, dw = TOLERANCES['involution'][dtype]
    names = ('output', 'grad input', 'grad weight', 'grad bias')
    for a, e, t, name in zip(actual, expected, (out, dx, dw, dw), names):
        assert a.dtype == dtype and a.is_contiguous()
        assert_close(a, e, t, name)


@pytest.mark.parametrize('name', ['op_g2_k5_s1_d2', 'op_g4_k7_s2'])
@pytest.mark.parametrize('backend', USABLE)
def test_values_of_the_original(backend, name):
    golden = torch.load(GOLDEN / f'{name}.pt', weights_only=True)
    meta = golden['meta']
    function = partial(
        ops.involution,
        stride=meta['stride'],
        padding=meta['padding'],
        dilation=meta['dilation'],
        backend=backend,
    )
    tensors = golden['input'], golden['kernel']
    expected = golden['output'], golden['grad_input'], golden['grads']['kernel']
    for a, e in zip(run(function, tensors, golden['cotangent']), expected):
        assert_close(a, e, 1e-12)


def test_reference_by_hand():
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    weight = torch.zeros(1, 1, 3, 3, 2, 3)
    weight[0, 0, 0, 2] = 1  # looks one row up, one column right
    weight[0, 0, 1, 1, 0, 0] = 10  # output (0, 0) takes its own place, too
    expected = torch.tensor([[0.0, 0, 0], [1, 2, 0]])
    assert torch.equal(ops.reference.involution(x, weight)[0, 0], expected)
    x, weight = x.repeat(1, 4, 1, 1), weight.repeat(1, 2, 1, 1, 1, 1)
    weight[:, 1] *= 3
    for order, factors in dict(
        contiguous=[1, 1, 3, 3], interleaved=[1, 3, 1, 3]
    ).items():
        out = ops.reference.involution(x, weight, order=order)
        assert out[0, :, 1, 0].tolist() == factors


def test_clamped_windows_are_those_of_neighbourhood_attention():
    """Every output sees K places of its own residue modulo the dilation."""
    for size, k, dilation in ((7, 7, 1), (9, 3, 1), (11, 3, 3), (10, 5, 2)):
        first = ops.reference.window_starts(
            size, size, k, 1, dilation * (k - 1) // 2, dilation, 'clamp'
        )
        for i, start in enumerate(first.tolist()):
            residue = list(range(i % dilation, size, dilation))
            at = min(max(residue.index(i) - k // 2, 0), len(residue) - k)
            assert start == residue[at]


LAYOUTS = {
    'channels_last': lambda t: t.movedim(1, -1).contiguous().movedim(-1, 1),
    'transposed': lambda t: t.transpose(-2, -1).contiguous().transpose(-2, -1),
    'strided': lambda t: t.repeat_interleave(2, 1)[:, ::2],
    'expanded': lambda t: t[:1].expand_as(t),
    'offset': lambda t: torch.cat([t.new_zeros(1), t.flatten()])[1:].view_as(t),
}


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('backend', USABLE)
def test_any_memory_layout(backend, layout):
    tensors, probe, _ = make((2, 8, 2, 9, 13, 5, {}), torch.float64)
    *tensors, probe = (LAYOUTS[layout](t) for t in (*tensors[:2], probe))
    actual = run(partial(ops.involution, backend=backend), tensors, probe)
    expected = run(ops.reference.involution, tensors, probe)
    for a, e in zip(actual, expected):
        assert_close(a, e, 1e-12)


@pytest.mark.parametrize('border', ['zeros', 'clamp'])
@pytest.mark.parametrize('backend', USABLE)
def test_empty_batch(backend, border):
    x = torch.zeros(0, 4, 5, 6, requires_grad=True)
    weight = torch.zeros(0, 2, 3, 3, 5, 6, requires_grad=True)
    out = ops.involution(x, weight, border=border, backend=backend)
    assert out.shape == x.shape
    out.sum().backward()
    assert x.grad.shape == x.shape and weight.grad.shape == weight.shape


GRADCHECK = [
    (2, 4, 2, 5, 4, 3, {}),
    (1, 3, 1, 6, 5, 3, dict(stride=2, dilation=2)),
    (1, 4, 2, 5, 6, 3, dict(order='interleaved', border='clamp')),
]


@pytest.mark.parametrize('shape', GRADCHECK, ids=str)
@pytest.mark.parametrize('backend', USABLE)
def test_gradcheck(backend, shape):
    tensors, _, options = make(shape, torch.float64)
    tensors = [t.requires_grad_() for t in tensors]
    function = partial(ops.involution, backend=backend, **options)
    assert torch.autograd.gradcheck(function, tensors, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, tensors, fast_mode=True)


@pytest.mark.parametrize('shape', [*GRADCHECK, (0, 4, 2, 5, 4, 3, {})], ids=str)
@pytest.mark.parametrize('backend', OWN)
def test_operators_pass_opcheck(backend, shape):
    (x, weight, _), probe, options = make(shape, torch.float32)
    x, weight, probe = (t.requires_grad_() for t in (x, weight, probe))
    stride, dilation = options.get('stride', 1), options.get('dilation', 1)
    rest = (
        stride,
        dilation * (shape[5] - 1) // 2,
        dilation,
        options.get('order') == 'interleaved',
        options.get('border') == 'clamp',
        backend,
    )
    own = torch.ops.smpconv_mm
    check = torch.library.opcheck
    check(own.involution.default, (x, weight, *rest))
    check(own.involution_input.default, (probe, weight, *x.shape[2:], *rest))
    check(own.involution_weight.default, (x, probe, *weight.shape[1:3], *rest))


def test_transforms_of_functions():
    """They take the plain backend, and a forced one says why it cannot run."""
    x = torch.randn(3, 2, 4, 5, 6, dtype=torch.float64)
    weight = torch.randn(2, 3, 2, 3, 3, 5, 6, dtype=torch.float64)
    out = torch.vmap(ops.involution, in_dims=(0, 1))(x, weight)
    expected = [ops.involution(x[i], weight[:, i]) for i in range(3)]
    assert_close(out, torch.stack(expected), 1e-12)
    slope = torch.func.grad(lambda t: ops.involution(t, weight[:, 0]).square().sum())
    leaf = x[0].clone().requires_grad_()
    ops.involution(leaf, weight[:, 0]).square().sum().backward()
    assert_close(slope(x[0]), leaf.grad, 1e-12)
    with pytest.raises(RuntimeError, match=r'torch\.func'):
        torch.vmap(partial(ops.involution, backend='shift'), (0, 1))(x, weight)


@pytest.mark.parametrize('backend', USABLE)
def test_compile_has_no_graph_break(backend):
    function = partial(ops.involution, backend=backend)
    compiled = torch.compile(function, fullgraph=True, backend='aot_eager')
    for side in (9, 11):  # the second makes sizes symbols
        tensors, probe, _ = make((2, 8, 2, side, 9, 5, {}), torch.float32)
        expected = run(function, tensors, probe)
        for a, e in zip(run(compiled, tensors, probe), expected):
            assert_close(a, e, 1e-6)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize('backend', USABLE)
def test_autocast(backend, dtype):
    tensors, _, _ = make((2, 8, 2, 9, 9, 5, {}), torch.float32)
    with torch.autocast('cpu', dtype):
        out = ops.involution(tensors[0].to(dtype), *tensors[1:], backend=backend)
    assert out.dtype == dtype
    assert_close(out, ops.reference.involution(*tensors), 2e-2)
    tensors = [t.double() for t in tensors]
    with torch.autocast('cpu', dtype):
        assert ops.involution(*tensors, backend=backend).dtype == torch.float64


@pytest.mark.parametrize('backend', OWN)
def test_operations_are_counted(backend):
    from torch.utils.flop_counter import FlopCounterMode

    (x, weight, _), _, options = make((2, 8, 2, 9, 7, 5, dict(stride=2)), torch.float32)
    x.requires_grad_()
    weight.requires_grad_()
    once = 2 * 2 * 8 * 5 * 4 * 25
    with FlopCounterMode(display=False) as counter:
        ops.involution(x, weight, backend=backend, **options).sum().backward()
    assert counter.get_total_flops() == 3 * once
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ops.involution(x, weight, backend=backend, **options)
    assert counter.get_total_flops() == once


@pytest.mark.parametrize('border', ['zeros', 'clamp'])
def test_exporters_see_plain_operators(border):
    class Net(torch.nn.Module):
        def forward(self, x, weight):
            return ops.involution(x, weight, border=border)

    args = torch.randn(1, 4, 7, 7), torch.randn(1, 2, 5, 5, 7, 7)
    program = torch.export.export(Net(), args)
    called = [str(n.target) for n in program.graph.nodes if n.op == 'call_function']
    traced = torch.jit.trace(Net(), args)
    called += [n.kind() for n in traced.inlined_graph.nodes()]
    assert not any('smpconv_mm' in name for name in called)
    expected = ops.reference.involution(*args, border=border)
    assert_close(program.module()(*args), expected, 1e-5)


def test_explains_every_backend():
    args = dispatch.example('involution', (1, 32, 8, 8), 3)
    text = ops.explain('involution', *args)
    for backend in ops.backends('involution'):
        assert f'{backend}: ' in text
    for backend in ('cuda', 'cupy'):
        assert f'{backend}: it runs on GPUs, the input is on cpu' in text
    assert dispatch.choose('involution', 'auto', *args).name == OWN[0]


X = torch.zeros(2, 8, 6, 6)
W = torch.zeros(2, 2, 3, 3, 6, 6)


@pytest.mark.parametrize(
    'args, options, error, message',
    [
        ((X[0], W), {}, ValueError, r'\(N, C, H, W\).*\(8, 6, 6\)'),
        ((X, W[0]), {}, ValueError, r'\(N, G, K, K, P, Q\).*\(2, 3, 3, 6, 6\)'),
        ((X, W[:1]), {}, ValueError, r'= \(2, 2, 3, 3, 6, 6\).*got \(1, 2'),
        ((X, W[..., :3, :3]), {}, ValueError, r'6, 6\).*3, 3\)'),
        ((X, W[:, :, :1]), {}, ValueError, r'\(2, 2, 1, 1, 6, 6\)'),
        ((X, W), dict(stride=2), ValueError, r'3, 3, 3, 3\).*stride 2'),
        ((X[:, :7], W), {}, ValueError, r'divide the 7 channels.*2, 2, 3, 3'),
        ((X, W[:, :0]), {}, ValueError, 'divide the 8 channels'),
        ((X, W), dict(stride=0), ValueError, 'at least 1.*got 0'),
        ((X, W), dict(dilation=0), ValueError, 'at least 1'),
        ((X, W), dict(padding=-1), ValueError, 'at least 0.*-1'),
        (
            (X, W),
            dict(dilation=9, padding=0),
            ValueError,
            'does not fit a map of 6 x 6',
        ),
        ((X, W[:, :, :2, :2]), {}, ValueError, 'side 2.*give a padding'),
        ((X, W), dict(order='mixed'), ValueError, "order must be.*'mixed'"),
        ((X, W), dict(border='wrap'), ValueError, "border.*'wrap'"),
        ((X, W), dict(dilation=3, border='clamp'), ValueError, 'at least.*9.*6 x 6'),
        ((X, W, torch.zeros(3)), {}, ValueError, r'bias.*\(8,\).*\(3,\)'),
        ((X.int(), W.int()), {}, TypeError, 'floating point.*int32'),
        ((X, W.double()), {}, TypeError, 'share a dtype.*float32.*float64'),
        ((X.to('meta'), W), {}, RuntimeError, 'one device.*meta.*cpu'),
        ((X, W), dict(backend='cuda'), RuntimeError, 'runs on GPUs.*cpu'),
        ((X, W), dict(backend='cupy'), RuntimeError, 'runs on GPUs.*cpu'),
    ],
)
def test_bad_input(args, options, error, message):
    with pytest.raises(error, match=message):
        ops.involution(*args, **options)


needs_cpp = pytest.mark.skipif('cpp' not in USABLE, reason='the extension is not built')


@needs_cpp
def test_same_result_for_any_number_of_threads():
    tensors, probe, _ = make((3, 32, 2, 37, 20, 5, {}), torch.float32)
    function = partial(ops.involution, backend='cpp')
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = run(function, tensors, probe)
        for threads in (2, 3, 5):
            torch.set_num_threads(threads)
            for a, b in zip(run(function, tensors, probe)[:3], alone):
                assert torch.equal(a, b)
    finally:
        torch.set_num_threads(before)


@needs_cpp
def test_compiled_operators_check_by_themselves():
    own = torch.ops.smpconv_mm_ext
    rest = (1, 1, 1, False, False)
    with pytest.raises(RuntimeError, match='weight must be'):
        own.involution(X, W[0], *rest)
    with pytest.raises(RuntimeError, match='3 groups must divide 8'):
        own.involution_weight(X, X, 3, 3, *rest)
    with pytest.raises(RuntimeError, match='grad must have the places'):
        own.involution_input(X[..., :3], W, 6, 6, *rest)
