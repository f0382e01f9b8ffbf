"""Convolutions with kernels of any size: ``causal_conv1d`` and ``conv2d``."""

from functools import partial
from math import prod

import pytest
import torch
import torch.nn.functional as F
from tolerances import TOLERANCES, assert_close
from torch.utils.flop_counter import FlopCounterMode

from smpconv_mm import ops
from smpconv_mm.ops import fft_conv, spectra

# operation, shape of the input, shape of the kernel, settings
SEQUENCES = [
    ('causal_conv1d', (2, 3, 28), (4, 3, 28), {}),
    ('causal_conv1d', (1, 1, 1), (1, 1, 1), {}),
    ('causal_conv1d', (2, 2, 27), (3, 2, 15), {}),
    ('causal_conv1d', (1, 3, 7), (2, 3, 20), {}),  # longer than the sequence
    ('causal_conv1d', (2, 2, 50), (2, 2, 4), {}),
    ('causal_conv1d', (2, 4, 31), (6, 2, 31), dict(groups=2)),
    ('causal_conv1d', (2, 5, 29), (5, 1, 64), dict(groups=5)),
    ('causal_conv1d', (0, 2, 9), (3, 2, 99), {}),
]
MAPS = [
    ('conv2d', (2, 3, 8, 8), (4, 3, 7, 7), dict(padding=3)),
    ('conv2d', (1, 4, 13, 29), (4, 1, 9, 33), dict(padding='same', groups=4)),
    ('conv2d', (2, 4, 5, 7), (6, 2, 15, 4), dict(padding='same', groups=2)),
    ('conv2d', (1, 1, 1, 1), (1, 1, 3, 5), dict(padding=(2, 4))),
    ('conv2d', (1, 2, 31, 32), (2, 2, 33, 33), dict(padding='same')),
    ('conv2d', (2, 3, 8, 9), (2, 3, 3, 2), {}),
    ('conv2d', (2, 3, 4, 3), (2, 3, 2, 3), dict(padding=(5, 0))),  # outputs of zeros
    ('conv2d', (0, 2, 5, 5), (3, 2, 4, 5), dict(padding='same')),
    ('conv2d', (2, 3, 5, 70), (4, 3, 4, 9), dict(padding='same')),  # by fast transforms
]
STRIDED = [
    ('conv2d', (2, 4, 9, 7), (4, 2, 3, 4), dict(stride=2, padding=1, groups=2)),
    ('conv2d', (1, 2, 9, 12), (3, 2, 3, 2), dict(dilation=(2, 3), padding='same')),
    ('conv2d', (2, 2, 7, 7), (2, 2, 3, 3), dict(stride=(1, 3), padding='valid')),
]
BACKENDS = ('direct', 'fft')


def make(case, dtype=torch.float32):
    """The operation with its settings, and input, kernel and bias."""
    op, input, weight, settings = case
    generator = torch.Generator().manual_seed(0)
    taps = prod(weight[1:])
    tensors = [
        torch.randn(input, generator=generator),
        torch.randn(weight, generator=generator) / taps**0.5,
        torch.randn(weight[0], generator=generator),
    ]
    return op, settings, [t.to(dtype) for t in tensors]


def with_gradients(function, tensors):
    leaves = [t.detach().requires_grad_() for t in tensors]
    out = function(*leaves)
    probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    return out, *torch.autograd.grad((out * probe.to(out.dtype)).sum(), leaves)


@pytest.mark.parametrize('dtype', TOLERANCES['conv2d'], ids=str)
@pytest.mark.parametrize(
    'case, backend',
    [(c, b) for c in SEQUENCES + MAPS for b in (*BACKENDS, 'auto')]
    + [(c, 'auto') for c in STRIDED],
    ids=str,
)
def test_agrees_with_float64_reference(case, backend, dtype):
    op, settings, tensors = make(case, dtype)
    function = partial(getattr(ops, op), **settings, backend=backend)
    actual = with_gradients(function, tensors)
    reference = partial(getattr(ops.reference, op), **settings)
    expected = with_gradients(reference, [t.double() for t in tensors])
    out, dx, dw = TOLERANCES[op][dtype]
    names = ('output', 'grad input', 'grad weight', 'grad bias')
    for a, e, t, name in zip(actual, expected, (out, dx, dw, dw), names):
        assert a.dtype == dtype
        assert_close(a, e, t, name)


@pytest.mark.parametrize('case', MAPS[:3] + STRIDED, ids=str)
def test_reference_is_that_of_torch(case):
    _, settings, tensors = make(case, torch.float64)
    expected = F.conv2d(*tensors, **settings)
    assert_close(ops.reference.conv2d(*tensors, **settings), expected, 1e-12)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('case', [SEQUENCES[0], MAPS[0]], ids=str)
def test_any_memory_layout(case, backend):
    op, settings, (x, weight, bias) = make(case)
    function = partial(getattr(ops, op), **settings, backend=backend)
    expected = function(x, weight, bias)
    wide = F.pad(x, (1, 2))[..., 1:-2]
    turned = x.transpose(1, -1).contiguous().transpose(1, -1)
    assert not wide.is_contiguous() and not turned.is_contiguous()
    for other in (wide, turned):
        assert_close(function(other, weight, bias), expected, 1e-6)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize(
    'case',
    [
        ('causal_conv1d', (2, 2, 5), (3, 2, 4), {}),
        ('causal_conv1d', (1, 2, 5), (2, 1, 4), dict(groups=2)),
        ('conv2d', (1, 2, 3, 4), (2, 2, 3, 2), dict(padding='same')),
        ('conv2d', (1, 4, 3, 4), (2, 2, 3, 5), dict(padding=2, groups=2)),
    ],
    ids=str,
)
def test_gradcheck(case, backend):
    op, settings, tensors = make(case, torch.float64)
    function = partial(getattr(ops, op), **settings, backend=backend)
    tensors = [t.requires_grad_() for t in tensors]
    assert torch.autograd.gradcheck(function, tensors)
    assert torch.autograd.gradgradcheck(function, tensors)


@pytest.mark.parametrize(
    'input, weight, left, right, groups, keep',
    [
        ((2, 3, 9), (4, 3, 7), [6], [0], 1, True),  # kernel not kept
        ((2, 4, 9), (4, 1, 5), [4], [0], 4, True),
        ((3, 4, 5, 6), (6, 2, 3, 4), [1, 1], [1, 2], 2, True),
        ((3, 4, 5, 6), (2, 4, 3, 4), [1, 1], [1, 2], 1, True),
        ((2, 4, 5, 6), (6, 2, 3, 4), [1, 1], [1, 2], 2, False),
        ((0, 2, 9), (3, 2, 7), [6], [0], 1, True),
    ],
    ids=str,
)
def test_operators_pass_opcheck(input, weight, left, right, groups, keep):
    x, w = torch.randn(input).requires_grad_(), torch.randn(weight).requires_grad_()
    settings = left, right, groups
    conv, backward = (
        torch.ops.smpconv_mm.fft_conv,
        torch.ops.smpconv_mm.fft_conv_backward,
    )
    torch.library.opcheck(conv.default, (x, w, *settings, keep))
    out, *spectra = (t.detach() for t in conv(x, w, *settings, keep))
    grad = torch.randn_like(out).requires_grad_()
    args = (grad, x, w, *spectra, *settings)
    torch.library.opcheck(backward.default, (*args, True, True))


@pytest.mark.parametrize(
    'case, backend',
    [(SEQUENCES[0], 'direct'), (SEQUENCES[0], 'fft'), (MAPS[4], 'direct'),
     (MAPS[4], 'fft'), (SEQUENCES[5], 'fft'), (MAPS[1], 'fft')],
    ids=str,
)  # fmt: skip
def test_operations_are_counted_by_taps(case, backend):
    """Those of a sum, whichever way; torch counts gradients in groups otherwise."""
    op, settings, (x, weight, _) = make(case)
    function = partial(getattr(ops, op), **settings, backend=backend)
    taps = [min(k, 2 * n - 1) for k, n in zip(weight.shape[2:], x.shape[2:])]
    macs = x[:, 0].numel() * len(weight) * weight.shape[1] * prod(taps)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function(x, weight)
    assert counter.get_total_flops() == 2 * macs
    with FlopCounterMode(display=False) as counter:
        function(x.requires_grad_(), weight.requires_grad_()).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * macs


@pytest.mark.parametrize('backend', ['auto', 'fft'])
@pytest.mark.parametrize('case', [SEQUENCES[0], MAPS[2]], ids=str)
def test_compile_has_no_graph_break(case, backend):
    op, settings, tensors = make(case)
    function = partial(getattr(ops, op), **settings, backend=backend)
    torch._dynamo.reset()  # or the sizes of the cases before make these symbolic
    compiled = torch.compile(function, fullgraph=True, backend='aot_eager')
    for a, e in zip(
        with_gradients(compiled, tensors), with_gradients(function, tensors)
    ):
        assert_close(a, e, 1e-6)


@pytest.mark.parametrize('backend', BACKENDS)
def test_autocast(backend):
    _, settings, tensors = make(MAPS[0])
    exact = ops.conv2d(*tensors, **settings)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast('cpu', dtype):
            out = ops.conv2d(tensors[0].to(dtype), *tensors[1:], **settings)
            forced = ops.conv2d(*tensors, **settings, backend=backend)
        assert out.dtype == forced.dtype == dtype
        assert_close(out, exact, 2e-2)
        assert_close(forced, exact, 2e-2)


def test_gradient_of_one_alone():
    _, settings, tensors = make(MAPS[2], torch.float64)
    both = with_gradients(partial(ops.conv2d, **settings, backend='fft'), tensors)
    for i in range(2):
        leaves = [t.detach().requires_grad_(i == j) for j, t in enumerate(tensors)]
        out = ops.conv2d(*leaves, **settings, backend='fft')
        probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
        (grad,) = torch.autograd.grad((out * probe).sum(), leaves[i])
        assert_close(grad, both[1 + i], 1e-12)


@pytest.mark.parametrize('kept', [True, False])
def test_spectra_of_long_kernels_are_not_kept(kept, monkeypatch):
    """Their memory matters more than the time to make them again."""
    x, weight = torch.randn(2, 3, 40), torch.randn(4, 3, 40)
    monkeypatch.setattr(fft_conv, '_LONG', weight.numel() - (not kept))
    saved = []
    hooks = torch.autograd.graph.saved_tensors_hooks
    with hooks(lambda t: saved.append(t) or t, lambda t: t):
        actual = with_gradients(partial(ops.causal_conv1d, backend='fft'), (x, weight))
    assert any(t.is_complex() and t.numel() for t in saved) == kept
    expected = with_gradients(ops.reference.causal_conv1d, (x, weight))
    for a, e in zip(actual, expected):
        assert_close(a, e, 1e-5)


@pytest.mark.parametrize('size', [(9, 11), (70, 6)])  # by matrices, and not
def test_channels_in_several_parts(size, monkeypatch):
    """Gradients of the input are those of all parts together."""
    monkeypatch.setattr(spectra, '_AT_ONCE', 1)
    x, weight = torch.randn(2, 3, *size), torch.randn(4, 3, 5, 5)
    padded = dict(padding=2)
    actual = with_gradients(partial(ops.conv2d, backend='fft', **padded), (x, weight))
    expected = with_gradients(
        partial(F.conv2d, **padded), (x.double(), weight.double())
    )
    for a, e in zip(actual, expected):
        assert_close(a, e, 1e-5)


@pytest.mark.parametrize(
    'op, input, weight, expected',
    [
        ('causal_conv1d', (64, 30, 784), (30, 30, 784), 'fft'),  # sMNIST
        ('causal_conv1d', (1, 30, 784), (30, 30, 784), 'fft'),
        ('causal_conv1d', (1, 30, 784), (30, 30, 32), 'direct'),
        ('causal_conv1d', (16, 30, 784), (30, 30, 8), 'direct'),
        ('causal_conv1d', (8, 64, 1024), (64, 1, 1024), 'fft'),
        ('conv2d', (8, 24, 32, 32), (24, 24, 33, 33), 'fft'),
        ('conv2d', (8, 24, 32, 32), (24, 24, 3, 3), 'direct'),
        ('conv2d', (16, 36, 32, 32), (36, 36, 7, 7), 'fft'),
        ('conv2d', (16, 3, 32, 32), (24, 3, 5, 5), 'direct'),
        ('conv2d', (32, 32, 8, 8), (32, 32, 5, 5), 'direct'),
    ],
)
def test_auto_counts_the_work(op, input, weight, expected):
    sides = [(k - 1, 0) if op == 'causal_conv1d' else (k // 2,) * 2 for k in weight[2:]]
    ones = (1,) * len(sides)
    groups = input[1] // weight[1]
    args = torch.zeros(input), torch.zeros(weight), None, ones, sides, ones, groups
    assert ops.dispatch.choose(op, 'auto', *args).name == expected
    assert ('transform is faster' in ops.explain(op, *args)) == (expected == 'fft')


def test_fast_lengths():
    for n in (1, 2, 7, 31, 1000, 1023, 15999, 31999):
        length = spectra._fast_length(n)
        assert length >= n and length % 2 == 0 and length < 1.3 * n + 2
        for factor in (2, 3, 5):
            while length % factor == 0:
                length //= factor
        assert length == 1


def test_meta_tensors_and_transforms():
    x, weight = torch.randn(2, 3, 40), torch.randn(5, 4, 3, 40)
    assert ops.causal_conv1d(x.to('meta'), weight[0].to('meta')).shape == (2, 4, 40)
    many = torch.func.vmap(ops.causal_conv1d, (None, 0))(x, weight)
    assert_close(many[3], ops.causal_conv1d(x, weight[3]), 1e-5)
    grad = torch.func.grad(lambda w: ops.causal_conv1d(x, w).square().sum())(weight[0])
    leaf = weight[0].clone().requires_grad_()
    ops.causal_conv1d(x, leaf).square().sum().backward()
    assert_close(grad, leaf.grad, 1e-5)


@pytest.mark.parametrize(
    'op, x, k, settings, message',
    [
        ('causal_conv1d', (2, 9), (3, 2, 5), {}, r'\(N, C_in, L\).*\(2, 9\)'),
        ('causal_conv1d', (1, 2, 0), (3, 2, 5), {}, r'\(1, 2, 0\)'),
        ('causal_conv1d', (1, 2, 9), (3, 4, 5), {}, r'\(C_out, 2, K\).*\(3, 4, 5\)'),
        ('causal_conv1d', (1, 2, 9), (3, 2, 5), dict(backend='dft'), "backend 'dft'"),
        ('conv2d', (2, 9, 9), (3, 2, 5, 5), {}, r'\(N, C_in, H, W\).*\(2, 9, 9\)'),
        ('conv2d', (1, 2, 9, 9), (3, 1, 5, 5), dict(groups=2), r'multiple of 2.*3, 1'),
        ('conv2d', (1, 2, 9, 9), (3, 1, 5, 5), dict(groups=3), 'groups must.*got 3'),
        ('conv2d', (1, 2, 9, 9), (3, 2, 5, 5), dict(stride=0), 'stride.*got 0'),
        ('conv2d', (1, 2, 9, 9), (3, 2, 5, 5), dict(padding='full'), "got 'full'"),
        ('conv2d', (1, 2, 9, 9), (3, 2, 5, 5), dict(padding=(1, -1)), r'\(1, -1\)'),
        ('conv2d', (1, 2, 4, 9), (3, 2, 5, 5), {}, r'larger than.*\(5, 5\).*\(4, 9\)'),
        (
            'conv2d', (1, 2, 9, 9), (3, 2, 5, 5), dict(stride=2, padding='same'),
            r'stride 1, got stride \(2, 2\)',
        ),
    ],
)  # fmt: skip
def test_bad_input(op, x, k, settings, message):
    with pytest.raises(ValueError, match=message):
        getattr(ops, op)(torch.zeros(x), torch.zeros(k), **settings)


def test_bad_tensors():
    x, k = torch.zeros(1, 2, 9), torch.zeros(3, 2, 5)
    with pytest.raises(ValueError, match=r'bias.*\(3,\), got \(2,\)'):
        ops.causal_conv1d(x, k, torch.zeros(2))
    with pytest.raises(TypeError, match='floating point.*int64'):
        ops.causal_conv1d(x.long(), k.long())
    with pytest.raises(TypeError, match='share a dtype.*float32.*float64'):
        ops.causal_conv1d(x, k.double())
    with pytest.raises(RuntimeError, match=r'stride and dilation 1, got \(2, 2\)'):
        ops.conv2d(x[None], k[:, :1, None], stride=2, backend='fft')


def test_exporters_see_a_plain_convolution():
    """Also for sequences of any length, longer or shorter than the kernel."""

    class Net(torch.nn.Module):
        def forward(self, x, kernel):
            return ops.causal_conv1d(x, kernel)

    x, kernel = torch.randn(2, 3, 40), torch.randn(4, 3, 30)
    length = torch.export.Dim('length', min=2)
    program = torch.export.export(
        Net(), (x, kernel), dynamic_shapes=({2: length}, None)
    )
    names = [str(n.target) for n in program.graph.nodes if n.op == 'call_function']
    assert any('conv1d' in name for name in names)
    assert not any('fft' in name for name in names)
    for length in (40, 7):
        actual = program.module()(x[..., :length], kernel)
        expected = ops.causal_conv1d(x[..., :length], kernel)
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
