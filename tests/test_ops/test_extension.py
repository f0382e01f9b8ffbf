"""Loading the compiled operations, or knowing why not."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.torch_version import TorchVersion

from smpconv_mm.ops import extension

ROOT = Path(__file__).parents[2]
OLD_TORCH = torch.__version__ < '2.10'


@pytest.mark.skipif(
    shutil.which(os.environ.get('CXX', 'c++')) is None or OLD_TORCH,
    reason='needs a C++ compiler and torch 2.10',
)
def test_built_where_a_compiler_is():
    assert extension.LOAD_ERROR is None


BUILT = pytest.mark.skipif(
    extension.LOAD_ERROR is not None, reason='the extension is not built'
)


@BUILT
def test_operators_are_those_that_are_registered():
    text = (ROOT / 'cuda_ops' / 'csrc' / 'registration.cpp').read_text()
    declared = re.findall(r'm\.def\(\s*"(\w+)\(', text)
    assert 'depthwise_conv2d_weight' in declared
    assert sorted(extension._KERNELS) == sorted(declared)
    assert extension.why_not('depthwise_conv2d', 'cpu') is None


@BUILT
def test_each_operator_is_asked_for_by_itself(monkeypatch):
    """A library that lacks one, or was built without CUDA, serves the others."""
    found = {'old': ('cpu',), 'other': ('cpu', 'cuda')}
    monkeypatch.setattr(extension, '_KERNELS', found)
    assert extension.why_not('other', 'cuda') is None
    assert extension.why_not('old', 'cpu') is None
    assert "'old' was built without CUDA" in extension.why_not('old', 'cuda')
    assert "another version, it lacks 'new'" in extension.why_not('new', 'cpu')
    assert extension.why_not(('old', 'other'), 'cpu') is None
    assert "'old' was built" in extension.why_not(('other', 'old'), 'cuda')
    assert 'for meta' in extension.why_not('old', 'meta')


def test_says_why_it_does_not_load(tmp_path, monkeypatch):
    assert 'not built' in extension.load(tmp_path / '_ext.so')
    broken = tmp_path / '_ext.so'
    broken.write_bytes(b'no library')
    if not OLD_TORCH:
        reason = extension.load(broken)
        assert str(broken) in reason and f'torch {torch.__version__}' in reason
    monkeypatch.setattr(torch, '__version__', TorchVersion('2.9.1'))
    assert 'need torch 2.10 or newer, this is 2.9.1' in extension.load(broken)


def test_all_works_without_it(tmp_path):
    """The package in a place where nothing is built."""
    shutil.copytree(
        ROOT / 'smpconv_mm',
        tmp_path / 'smpconv_mm',
        ignore=shutil.ignore_patterns('_ext.so', '__pycache__', '.mim'),
    )
    code = """
import torch
from smpconv_mm import ops
x, w = torch.ones(1, 2, 9, 9, requires_grad=True), torch.ones(2, 1, 13, 13)
ops.depthwise_conv2d(x, w).sum().backward()
print(x.grad.sum())
try:
    ops.depthwise_conv2d(x, w, backend='cpp')
except RuntimeError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True
    )
    assert 'tensor(11250.)' in done.stdout, done.stderr
    assert "'cpp' cannot run" in done.stdout and 'not built' in done.stdout


def test_library_by_the_ending_of_the_platform(tmp_path):
    assert extension.find_library(tmp_path) == tmp_path / '_ext.so'
    for ending in ('.dylib', '.pyd', '.so'):
        path = tmp_path / f'_ext{ending}'
        path.touch()
        assert extension.find_library(tmp_path) == path


def test_a_plan_ends_with_its_context(monkeypatch):
    name = 'SMPCONV_MM_PLAN'
    monkeypatch.delenv(name, raising=False)
    with extension.use_plan('conv:warps=4'):
        assert os.environ[name] == 'conv:warps=4'
        with extension.use_plan('weight:splits=2'):
            assert os.environ[name] == 'weight:splits=2'
        assert os.environ[name] == 'conv:warps=4'
    assert name not in os.environ
