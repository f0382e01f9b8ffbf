"""Every CUDA kernel compiles, and none spills registers."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
KERNELS = sorted((ROOT / 'cuda_ops/csrc/cuda').glob('*.cu'))
needs_nvcc = pytest.mark.skipif(
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


def load_tool():
    spec = importlib.util.spec_from_file_location(
        'check_kernels', ROOT / 'cuda_ops' / 'check_kernels.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = load_tool()


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


@needs_nvcc
@pytest.mark.parametrize('source, arch', list(builds()))
def test_no_kernel_spills(source, arch, capsys):
    spilling = TOOL.main([str(source), '--arch', str(arch)])
    said = capsys.readouterr()
    assert spilling == 0, said
    # sources without a dtype in their name launch what the others have
    assert f'\n  {arch}  ' in said.out or source.stem in ('depthwise_conv', 'launch')
    with capsys.disabled():
        print(f'\n{said.out}')


@needs_nvcc
@pytest.mark.parametrize('dtype, k', [(0, 3), (0, 7), (1, 7), (2, 7), (3, 7)])
def test_what_cupy_compiles(dtype, k, tmp_path):
    """The source of the backend that needs no build; types are numbered in it."""
    source = ROOT / 'smpconv_mm/ops/involution/cupy_kernels.cu'
    nvcc = shutil.which('nvcc') or '/usr/local/cuda/bin/nvcc'
    command = [nvcc, '-cubin', '-std=c++17', '-arch=sm_80', '-Werror=all-warnings']
    command += ['-Xptxas=-v', f'-DTYPE={dtype}', f'-DKERNEL={k}', str(source)]
    done = subprocess.run(
        [*command, '-o', str(tmp_path / 'kernels.cubin')],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name in ('output', 'input', 'weight'):
        assert f"entry function 'involution_{name}'" in done.stderr
    spills = re.findall(r'(\d+) bytes spill', done.stderr)
    assert len(spills) == 6 and set(spills) == {'0'}, done.stderr


@needs_nvcc
def test_spills_are_found(tmp_path):
    """Run as a program, too."""
    source = tmp_path / 'spill.cu'
    source.write_text(SPILLING)
    command = [sys.executable, ROOT / 'cuda_ops/check_kernels.py', source]
    done = subprocess.run([*command, '--arch', '80'], capture_output=True, text=True)
    assert done.returncode == 1, done.stdout
    assert '1 kernels spill' in done.stderr
    assert re.search(r'  80 .* plain$', done.stdout, re.MULTILINE), done.stdout


@needs_nvcc
def test_errors_are_shown(tmp_path):
    source = tmp_path / 'wrong.cu'
    source.write_text('void wrong() { nothing; }')  # of the host
    with pytest.raises(RuntimeError, match='"nothing" is undefined'):
        TOOL.main([str(source), '--arch', '80'])


def test_inner_loops_are_found():
    """An outer loop, an inner one with products, code behind the end."""
    text = """
        /*0000*/                   MOV R1, R2 ;
        /*0010*/                   LDGSTS.E.128 [R1], desc[UR4][R2.64] ;
        /*0020*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;
        /*0030*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;
        /*0040*/                   IADD3 R3, R3, 0x1, RZ ;
        /*0050*/               @P0 BRA 0x20 ;
        /*0060*/               @P1 BRA 0x10 ;
        /*0070*/                   EXIT ;
        /*0080*/                   WARPSYNC.COLLECTIVE R2, 0x90 ;
        /*0090*/                   BRA 0x20 ;
    """
    code = [
        (int(match[1], 16), match[2])
        for match in map(TOOL.CODE.match, text.splitlines())
        if match
    ]
    assert len(code) == 10
    assert [len(body) for body in TOOL.loops(code)] == [4, 6]
    assert TOOL.densest(code, r'(HMMA|HGMMA)[.\w]*') == '4 / 2'
    assert TOOL.densest(code, r'LDGSTS[.\w]*') == '6 / 1'
    assert TOOL.densest(code, 'FFMA') == '-'


@pytest.mark.parametrize(
    'registers, static, threads, shared, blocks',
    [
        (128, 0, 256, 100 << 10, 2),  # as many as fit the shared memory
        (194, 0, 256, 0, 1),  # 208 registers by the granularity of 256
        (32, 0, 256, 0, 8),  # 64 warps
        (16, 0, 32, 0, 32),  # 32 blocks
        (32, 1024, 128, 0, 16),
    ],
)
def test_blocks_of_a_processor(registers, static, threads, shared, blocks):
    launch = SimpleNamespace(threads=threads, shared=shared)
    assert TOOL.occupancy(registers, static, launch) == blocks
