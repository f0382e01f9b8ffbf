"""The C++ kernels: every instruction set, any number of threads."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

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


def gradients(out, inputs):
    """The output, and gradients for a gradient that is the same in every dtype."""
    grad = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape)
    grad = grad.to(torch.float16).to(out.dtype)
    return (out, *torch.autograd.grad(out, inputs, grad))


def cases(dtype, exact):
    """Results of every operation on small inputs, by C++ or by the definitions."""
    options = {} if exact else dict(backend='cpp')
    place = ops.reference if exact else ops
    for shape in SHAPES:
        x, _, weight = values(shape, dtype)
        for last in (False, True):
            if last:
                x = x.contiguous(memory_format=torch.channels_last)
            a, w = ((t.double() if exact else t).requires_grad_() for t in (x, weight))
            yield gradients(place.depthwise_conv2d(a, w, **options), (a, w))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 20, 9, 11, generator=generator).to(dtype)
    line = torch.randn(20, 1, 1, 7, generator=generator).to(dtype)
    pixel = torch.randn(2, 4, 5, 5, 9, 11, generator=generator).to(dtype)
    angle = torch.linspace(0, 3, 20)
    if exact:
        x, line, pixel = x.double(), line.double(), pixel.double()
    x, line, pixel = (t.requires_grad_() for t in (x, line, pixel))
    yield gradients(place.oriented_conv2d(x, line, angle, **options), (x, line))
    if 'cpp' in ops.backends('involution'):
        yield gradients(place.involution(x, pixel, **options), (x, pixel))


CHECK = """
import sys, torch
sys.path[:0] = {path!r}
from test_cpu_kernels import cases
limits = dict(float32=1e-5, float64=1e-12, float16=5e-3, bfloat16=2e-2)
for name, limit in limits.items():
    dtype = getattr(torch, name)
    for found, exact in zip(cases(dtype, False), cases(dtype, True)):
        for a, e in zip(found, exact):
            assert (a - e).abs().max() < limit * e.abs().max(), (name, a.shape)
print(torch.backends.cpu.get_cpu_capability())
"""


@pytest.mark.parametrize('capability', ['default', 'avx2', 'avx512'])
def test_every_instruction_set(capability):
    """The operators; torch's variable bounds ours, too."""
    path = [os.path.dirname(__file__), os.getcwd()]
    done = subprocess.run(
        [sys.executable, '-c', CHECK.format(path=path)],
        env={**os.environ, 'ATEN_CPU_CAPABILITY': capability},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    if done.stdout.strip() != capability.upper():
        pytest.skip(f'this processor has {done.stdout.strip()} only')


INCLUDES = Path(torch.__file__).parent / 'include'
COMPILERS = {
    'g++': [],
    'clang++': [],
    # 64-bit Arm, where the base is NEON
    'aarch64-linux-gnu-g++': ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu'],
}


@pytest.fixture(scope='module', params=COMPILERS)
def loops(request, tmp_path_factory):
    """A program of the inner loops alone, and what runs it."""
    runs = COMPILERS[request.param]
    for tool in (request.param, *runs[:1]):
        if shutil.which(tool) is None:
            pytest.skip(f'{tool} is not installed')
    target = tmp_path_factory.mktemp('loops') / 'checks'
    source = Path(__file__).with_name('isa_checks.cpp')
    headers = Path(__file__).parents[2] / 'cuda_ops' / 'csrc' / 'cpu'
    command = [request.param, '-std=c++17', '-O2', '-ffp-contract=fast', '-Wall']
    command += [f'-I{headers}', f'-I{INCLUDES}', str(source), '-o', str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and 'warning' not in done.stderr, done.stderr
    return [*runs, str(target)]


@pytest.mark.parametrize('isa', ['base', 'avx2', 'avx512'])
def test_inner_loops(loops, isa):
    done = subprocess.run([*loops, isa], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip(f'this processor lacks {isa}')
    assert done.returncode == 0, done.stderr


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
