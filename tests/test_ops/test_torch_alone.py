"""Operators need torch, numpy and pytest alone, and no more than SSE of a processor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from smpconv_mm.ops.extension import why_not

ROOT = Path(__file__).parents[2]

# Runs where no other package can be found. On processors without bfloat16, torch's
# own convolutions add up in bfloat16 unless they are kept from it. Our compiled
# operations choose by the same variable as torch.
CODE = """
import runpy, sys
from importlib.machinery import PathFinder
import pytest

class Some(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split('.')[0] in hidden else super().find_spec(name, path)

hidden = {hidden!r}
sys.meta_path[:] = [Some if f is PathFinder else f for f in sys.meta_path]

def run(*args):
    status = pytest.main(['-q', '-p', 'no:cacheprovider', *args])
    assert status == 0, status

if {everything}:
    run('--collect-only', '-qq', 'tests/test_ops', 'tests/test_cuda_ops')
    for name in ('depthwise', 'fft_conv', 'involution', 'oriented', 'smp_kernel'):
        runpy.run_path(f'tools/benchmarks/bench_{{name}}.py')
run('-k', 'autocast or agrees_with_float64 and bfloat16',
    'tests/test_ops/test_depthwise_conv.py', 'tests/test_ops/test_long_conv.py')
if {compiled}:
    run('-k', 'test_agrees and cpp and not float16',
        'tests/test_ops/test_involution.py', 'tests/test_ops/test_oriented_conv.py')
assert not set(sys.modules) & set(hidden)
"""
HIDDEN = [
    *('mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg', 'torchvision', 'hypothesis'),
    *('cv2', 'matplotlib', 'pandas', 'PIL', 'rich', 'scipy', 'sklearn', 'yapf'),
]


@pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason='this torch has no oneDNN'
)
@pytest.mark.parametrize(
    'torch_has, onednn_has', [('default', 'SSE41'), ('avx2', 'AVX2')]
)
def test_runs_with_torch_alone_on_older_processors(torch_has, onednn_has):
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            CODE.format(
                hidden=HIDDEN,
                everything=torch_has == 'default',
                compiled=why_not('involution', 'cpu') is None,
            ),
        ],
        env={
            **os.environ,
            'ATEN_CPU_CAPABILITY': torch_has,
            'ONEDNN_MAX_CPU_ISA': onednn_has,
            'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1',
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert ' passed' in done.stdout
