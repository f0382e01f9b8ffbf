"""What setup.py compiles for."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[2] / 'setup.py'


@pytest.fixture
def known_archs():
    """The function alone: importing setup.py would build."""
    tree = ast.parse(SETUP.read_text())
    wanted = [
        node
        for node in tree.body
        if getattr(node, 'name', '') == 'known_archs'
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'ARCHS')
    ]
    space = dict(re=re, subprocess=subprocess)
    exec(compile(ast.Module(wanted, []), str(SETUP), 'exec'), space)
    return space['known_archs']


@pytest.mark.parametrize(
    'toolkit, archs',
    [
        ('70 75 80 86 89 90', '7.5;8.0+PTX;9.0a'),  # 12.0
        ('75 80 86 90 100 101 120', '7.5;8.0;9.0a;10.0;12.0+PTX'),
        ('80 90 100', '8.0;9.0a;10.0+PTX'),
    ],
)
def test_archs_that_the_toolkit_knows(known_archs, toolkit, archs, tmp_path):
    nvcc = tmp_path / 'nvcc'
    lines = '\n'.join(f'echo compute_{arch}' for arch in toolkit.split())
    nvcc.write_text(f'#!/bin/sh\n[ "$1" = --list-gpu-arch ] || exit 1\n{lines}\n')
    nvcc.chmod(0o755)
    assert known_archs(nvcc) == archs
