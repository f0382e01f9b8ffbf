"""Every CUDA kernel compiles, and none spills registers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNELS = sorted((ROOT / 'cuda_ops/csrc/cuda').glob('*.cu'))
pytestmark = pytest.mark.skipif(
    not (shutil.which('nvcc') or os.path.exists('/usr/local/cuda/bin/nvcc')),
    reason='needs nvcc',
)

# more values than a thread of so large a block has registers
SPILLING = """
__global__ void __launch_bounds__(1024) spill(const float* x, float* y) {
  float a[120];
#pragma unroll
  for (int i = 0; i < 120; ++i) a[i] = x[i * 1024 + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 120; ++i) y[i * 1024 + threadIdx.x] = a[i] * a[(7 * i + 3) % 120];
}
__global__ void plain(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x]; }
"""


def check(*args):
    command = [sys.executable, ROOT / 'cuda_ops/check_kernels.py', *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True)


def builds():
    """Sources and architectures; by default a source is compiled for one at most.

    Kernels of bfloat16 are those of float16 again.
    """
    for source in KERNELS:
        *_, dtype = source.stem.split('_')
        chosen = {'float': 75, 'bfloat16': None}.get(dtype, 90)
        for arch in (75, 80, 90):
            marks = [pytest.mark.slow] if arch != chosen else []
            yield pytest.param(source, arch, marks=marks, id=f'{source.stem}-{arch}')


@pytest.mark.parametrize('source, arch', builds())
def test_no_kernel_spills(source, arch, capsys):
    done = check(source, '--arch', arch)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'\n  {arch}  ' in done.stdout
    with capsys.disabled():
        print(f'\n{done.stdout}')


def test_spills_are_found(tmp_path):
    source = tmp_path / 'spill.cu'
    source.write_text(SPILLING)
    done = check(source, '--arch', 80)
    assert done.returncode == 1, done.stdout
    assert '1 kernels spill' in done.stderr
    assert 'plain(float const*, float*)' in done.stdout


def test_errors_are_shown(tmp_path):
    source = tmp_path / 'wrong.cu'
    source.write_text('__global__ void wrong() { nothing; }')
    done = check(source, '--arch', 80)
    assert done.returncode == 1 and '"nothing" is undefined' in done.stderr
