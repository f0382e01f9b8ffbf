"""Whatever the shape, dtype, memory layout and backend: the reference's values.

``SMPCONV_MM_EXAMPLES=10000`` draws that many cases instead of 300.
"""

import os

import pytest
import torch
from tolerances import TOLERANCES, assert_close

from smpconv_mm import ops

pytest.importorskip('hypothesis')
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

LAYOUTS = {
    'contiguous': lambda t: t.contiguous(),
    'channels_last': lambda t: t.contiguous(memory_format=torch.channels_last),
    'transposed': lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
    'strided': lambda t: t.repeat_interleave(2, 1)[:, ::2],
    'expanded': lambda t: t[:1].expand_as(t),
    'shifted': lambda t: torch.nn.functional.pad(t, (1, 2, 3, 0))[..., 3:, 1:-2],
}
sides = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 13, 14, 16, 23, 28, 40])
odds = st.sampled_from([1, 3, 5, 7, 9, 13, 15, 21, 27, 31])
dtypes = st.sampled_from([*TOLERANCES['depthwise_conv2d']])


@st.composite
def cases(draw):
    """Batch, channels, map and kernel, of which no more than one is long."""
    shape = [
        draw(st.integers(0, 3)),
        draw(st.integers(1, 35)),
        draw(sides),
        draw(sides),
    ]
    kernel = [draw(odds), draw(odds)]
    if kernel[0] * kernel[1] > 400:
        kernel[draw(st.integers(0, 1))] = draw(st.sampled_from([1, 3, 5, 9]))
    return shape, kernel


@settings(
    max_examples=int(os.environ.get('SMPCONV_MM_EXAMPLES', 300)),
    deadline=None,
    derandomize=True,
    database=None,
)
@given(
    case=cases(),
    dtype=dtypes,
    layouts=st.tuples(*[st.sampled_from(sorted(LAYOUTS))] * 2),
    backend=st.sampled_from(['auto', *ops.backends('depthwise_conv2d')]),
    bias=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_depthwise_conv2d(case, dtype, layouts, backend, bias, seed):
    (n, c, h, w), (kh, kw) = case
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, c, h, w, generator=generator).to(dtype)
    grad = torch.randn(n, c, h, w, generator=generator).to(dtype)
    weight = torch.randn(c, 1, kh, kw, generator=generator).to(dtype)
    shift = torch.randn(c, generator=generator).to(dtype) if bias else None
    x, grad = LAYOUTS[layouts[0]](x), LAYOUTS[layouts[1]](grad)
    if backend != 'auto':
        try:
            ops.dispatch.choose('depthwise_conv2d', backend, x, weight, shift)
        except RuntimeError:
            backend = 'auto'

    def run(function, grad, *tensors):
        leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
        out = function(*leaves)
        wanted = [t for t in leaves if t is not None]
        return [out.detach(), *torch.autograd.grad(out, wanted, grad)]

    def reference(power):
        exact = [None if t is None else t.double() ** power for t in tensors]
        return run(ops.reference.depthwise_conv2d, grad.double() ** power, *exact)

    tensors = x, weight, shift
    actual = run(lambda *t: ops.depthwise_conv2d(*t, backend=backend), grad, *tensors)
    terms = [squares.sqrt() for squares in reference(2)]
    out, dx, dw = TOLERANCES['depthwise_conv2d'][dtype]
    names = ('output', 'grad input', 'grad weight', 'grad bias')
    for a, e, s, t, name in zip(actual, reference(1), terms, (out, dx, dw, dw), names):
        assert a.dtype == dtype
        assert_close(a, e, t, name, s)
