"""The emulator of CUDA itself; the checks are in emulator_checks.cpp."""

import re
import subprocess
from pathlib import Path

import pytest
from test_cuda_ops.emulated import compile_cpp, needs_compiler

SOURCE = Path(__file__).with_name('emulator_checks.cpp')
NAMES = re.findall(r'^      \{"(\w+)"', SOURCE.read_text(), re.MULTILINE)


@pytest.fixture(scope='module')
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp('emulator') / 'checks'
    compile_cpp(SOURCE, path)
    return path


@needs_compiler
@pytest.mark.parametrize('name', NAMES)
def test_emulator(program, name):
    done = subprocess.run([program, name], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
