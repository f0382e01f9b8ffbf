"""The C++ kernels: every instruction set, any number of threads."""

import os
import subprocess
import sys

import pytest
import torch

from smpconv_mm import ops
from smpconv_mm.ops import extension

pytestmark = pytest.mark.skipif(
    extension.why_not('depthwise_conv2d', 'cpu') is not None,
    reason='the extension is not built',
)

# N, C, H, W, Kh, Kw: by sums, by transforms, by transforms of tiles
SHAPES = [(2, 21, 9, 17, 5, 3), (3, 21, 15, 14, 27, 25), (1, 5, 12, 190, 15, 41)]


def values(shape, dtype=torch.float32):
    n, c, h, w, kh, kw = shape
    generator = torch.Generator().manual_seed(0)
    x, g = torch.randn(2, n, c, h, w, generator=generator).to(dtype)
    weight = torch.randn(c, 1, kh, kw, generator=generator).to(dtype)
    return x, g, weight


def both(x, g, weight):
    weight = weight.clone().requires_grad_()
    out = ops.depthwise_conv2d(x, weight, backend='cpp')
    return out.detach(), torch.autograd.grad(out, weight, g)[0]


CHECK = """
import sys, torch
sys.path[:0] = {path!r}
from test_cpu_kernels import SHAPES, both, values
from smpconv_mm import ops
for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
    for shape in SHAPES:
        x, g, weight = values(shape, dtype)
        exact = weight.double().requires_grad_()
        out = ops.reference.depthwise_conv2d(x.double(), exact)
        dw, = torch.autograd.grad(out, exact, g.double())
        for a, e in zip(both(x, g, weight), (out, dw)):
            assert (a - e).abs().max() < tolerance * e.abs().max(), (shape, dtype)
print('right')
"""


@pytest.mark.parametrize('capability', ['default', 'avx2', 'avx512'])
def test_every_instruction_set(capability):
    """As far as this processor has it; torch's variable bounds ours, too."""
    path = [os.path.dirname(__file__), os.getcwd()]
    done = subprocess.run(
        [sys.executable, '-c', CHECK.format(path=path)],
        env={**os.environ, 'ATEN_CPU_CAPABILITY': capability},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == 'right', done.stderr


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_same_result_for_any_number_of_threads(shape):
    shape = (4, *shape[1:])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = both(*values(shape))
        for threads in (2, 3, 5):
            torch.set_num_threads(threads)
            for a, b in zip(both(*values(shape)), alone):
                assert torch.equal(a, b)
    finally:
        torch.set_num_threads(before)


def test_channels_do_not_meet():
    """Infinity in one channel leaves the others of its vector alone."""
    x, _, weight = values(SHAPES[1])
    clean = ops.depthwise_conv2d(x, weight, backend='cpp')
    x[0, 3, 4, 4] = float('inf')
    out = ops.depthwise_conv2d(x, weight, backend='cpp')
    assert not out[0, 3].isfinite().all()
    out[0, 3] = clean[0, 3]
    assert torch.equal(out, clean)


@pytest.mark.parametrize(
    'x, weight, bias, message',
    [
        ((2, 3, 4), (3, 1, 3, 3), None, 'input must be'),
        ((2, 3, 4, 4), (3, 1, 2, 3), None, 'weight must have shape'),
        ((2, 3, 4, 4), (4, 1, 3, 3), None, 'weight must have shape'),
        ((2, 3, 4, 4), (3, 1, 3, 3), (4,), 'bias must have shape'),
    ],
)
def test_operators_check_by_themselves(x, weight, bias, message):
    with pytest.raises(RuntimeError, match=message):
        torch.ops.smpconv_mm_ext.depthwise_conv2d(
            torch.zeros(x),
            torch.zeros(weight),
            None if bias is None else torch.zeros(bias),
        )
