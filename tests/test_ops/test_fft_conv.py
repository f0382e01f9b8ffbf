import pytest
import torch
import torch.nn.functional as F
from tolerances import TOLERANCES, assert_close

from smpconv_mm import ops
from smpconv_mm.ops.fft_conv import _fast_length


def with_gradients(function, tensors, probe):
    leaves = [t.detach().requires_grad_() for t in tensors]
    out = function(*leaves)
    return out, *torch.autograd.grad((out * probe.to(out.dtype)).sum(), leaves)


@pytest.mark.parametrize('dtype', TOLERANCES['causal_conv1d'], ids=str)
@pytest.mark.parametrize(
    'n, i, o, length, taps',
    [(2, 3, 4, 28, 28), (1, 1, 1, 1, 1), (2, 2, 3, 27, 15), (2, 2, 3, 31, 31),
     (1, 3, 2, 7, 20), (1, 3, 2, 6, 13), (2, 2, 2, 50, 4)],
)  # fmt: skip
@pytest.mark.parametrize('method', ['direct', 'fft', 'auto'])
def test_causal_conv1d(method, n, i, o, length, taps, dtype):
    g = torch.Generator().manual_seed(0)
    tensors = [
        torch.randn(n, i, length, generator=g),
        torch.randn(o, i, taps, generator=g) / (i * taps) ** 0.5,
        torch.randn(o, generator=g),
    ]
    tensors = [t.to(dtype) for t in tensors]
    probe = torch.randn(n, o, length, generator=g)
    actual = with_gradients(
        lambda *t: ops.causal_conv1d(*t, method=method), tensors, probe
    )
    expected = with_gradients(
        ops.reference.causal_conv1d, [t.double() for t in tensors], probe.double()
    )
    out, dx, dw = TOLERANCES['causal_conv1d'][dtype]
    for a, e, t in zip(actual, expected, (out, dx, dw, dw)):
        assert a.dtype == dtype
        assert_close(a, e, t)


@pytest.mark.parametrize('dtype', TOLERANCES['fft_conv2d'], ids=str)
@pytest.mark.parametrize(
    'n, i, o, groups, size, kernel',
    [(2, 3, 4, 1, (8, 8), (7, 7)), (1, 4, 4, 4, (13, 29), (9, 33)),
     (2, 4, 6, 2, (5, 7), (15, 3)), (1, 1, 1, 1, (1, 1), (3, 5)),
     (1, 2, 2, 1, (31, 32), (33, 33))],
)  # fmt: skip
def test_fft_conv2d(n, i, o, groups, size, kernel, dtype):
    g = torch.Generator().manual_seed(0)
    tensors = [
        torch.randn(n, i, *size, generator=g),
        torch.randn(o, i // groups, *kernel, generator=g)
        / (kernel[0] * kernel[1]) ** 0.5,
        torch.randn(o, generator=g),
    ]
    tensors = [t.to(dtype) for t in tensors]
    probe = torch.randn(n, o, *size, generator=g)
    padding = [k // 2 for k in kernel]
    actual = with_gradients(
        lambda *t: ops.fft_conv2d(*t, groups=groups), tensors, probe
    )
    expected = with_gradients(
        lambda *t: F.conv2d(*t, padding=padding, groups=groups),
        [t.double() for t in tensors],
        probe.double(),
    )
    out, dx, dw = TOLERANCES['fft_conv2d'][dtype]
    for a, e, t in zip(actual, expected, (out, dx, dw, dw)):
        assert_close(a, e, t)


def test_empty_batch():
    assert ops.causal_conv1d(torch.ones(0, 2, 9), torch.ones(3, 2, 99)).shape == (
        0,
        3,
        9,
    )
    assert ops.fft_conv2d(torch.ones(0, 2, 9, 9), torch.ones(3, 2, 5, 5)).shape == (
        0,
        3,
        9,
        9,
    )


@pytest.mark.parametrize('method', ['direct', 'fft'])
def test_gradcheck(method):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2, 5, generator=g, dtype=torch.float64, requires_grad=True)
    k = torch.randn(3, 2, 4, generator=g, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, k: ops.causal_conv1d(x, k, method=method), (x, k)
    )
    x = torch.randn(1, 2, 3, 4, generator=g, dtype=torch.float64, requires_grad=True)
    k = torch.randn(2, 1, 3, 5, generator=g, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, k: ops.fft_conv2d(x, k, groups=2), (x, k))


def test_compile_has_no_graph_break():
    x, k = torch.randn(2, 3, 300), torch.randn(4, 3, 300)
    compiled = torch.compile(ops.causal_conv1d, fullgraph=True, backend='aot_eager')
    assert_close(compiled(x, k), ops.causal_conv1d(x, k), 1e-5)


def test_fast_lengths():
    for n in (1, 2, 7, 31, 1000, 1023, 15999, 31999):
        length = _fast_length(n)
        assert length >= n and length % 2 == 0 and length < 1.3 * n + 2
        for factor in (2, 3, 5):
            while length % factor == 0:
                length //= factor
        assert length == 1


@pytest.mark.parametrize(
    'op, x, k, kwargs, message',
    [
        (ops.causal_conv1d, (2, 9), (3, 2, 5), {}, r'\(N, I, L\).*\(2, 9\)'),
        (ops.causal_conv1d, (1, 2, 0), (3, 2, 5), {}, r'\(1, 2, 0\)'),
        (ops.causal_conv1d, (1, 2, 9), (3, 4, 5), {}, r'2 input channels.*\(3, 4, 5\)'),
        (ops.fft_conv2d, (2, 9, 9), (3, 2, 5, 5), {}, r'\(N, I, H, W\).*\(2, 9, 9\)'),
        (ops.fft_conv2d, (1, 2, 9, 9), (3, 2, 4, 5), {}, r'odd.*\(4, 5\)'),
        (ops.fft_conv2d, (1, 2, 9, 9), (3, 1, 5, 5), dict(groups=2), 'groups.*got 2'),
    ],
)
def test_bad_input(op, x, k, kwargs, message):
    with pytest.raises(ValueError, match=message):
        op(torch.zeros(x), torch.zeros(k), **kwargs)


def test_bad_bias_and_method():
    x, k = torch.zeros(1, 2, 9), torch.zeros(3, 2, 5)
    with pytest.raises(ValueError, match=r'bias.*\(3,\), got \(2,\)'):
        ops.causal_conv1d(x, k, torch.zeros(2))
    with pytest.raises(ValueError, match="no backend 'dft'"):
        ops.causal_conv1d(x, k, method='dft')


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
