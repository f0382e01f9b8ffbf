"""Who may import whom, and what importing needs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'smpconv_mm'
FILES = sorted(PACKAGE.rglob('*.py'))

# room -> rooms of this package that it may import
ALLOWED = {
    'ops': {'ops'},
    'layers': {'ops', 'layers', 'registry'},
    'models': {'ops', 'layers', 'models', 'registry'},
    'datasets': {'datasets', 'registry', 'errors', 'checkpoint'},
}
# package -> rooms that may import it
EXTERNAL = {
    'mmdet': {'models/necks', 'models/heads'},
    'mmseg': {'models/necks', 'models/heads'},
}


def imports(path):
    """Absolute names of all modules that a file imports, at any depth."""
    package = path.relative_to(ROOT).with_suffix('').parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                '.'.join(package[: len(package) - node.level + 1]) if node.level else ''
            )
            name = '.'.join(filter(None, [base, node.module]))
            yield name
            if name == 'smpconv_mm':
                yield from (f'smpconv_mm.{alias.name}' for alias in node.names)


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_layers_of_the_house(path):
    parts = path.relative_to(PACKAGE).parts
    room = parts[0].removesuffix('.py')
    for name in imports(path):
        top, *rest = name.split('.')
        assert top not in ('tools', 'tests'), name
        if top == 'smpconv_mm' and rest and room in ALLOWED:
            assert rest[0] in ALLOWED[room], f'{room} imports {name}'
        if room == 'ops':
            known = {*sys.stdlib_module_names, 'torch', 'smpconv_mm'}
            assert top in known, f'ops imports {name}'
        if top in EXTERNAL:
            assert '/'.join(parts[:2]) in EXTERNAL[top], f'{path} imports {name}'


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_print_in_the_library(path):
    if path.name == '__main__.py':
        return
    calls = [
        n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)
    ]
    assert not [c for c in calls if getattr(c.func, 'id', '') == 'print']


def run(code):
    return subprocess.run(
        [sys.executable, '-W', 'error::UserWarning:smpconv_mm', '-c', code],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def test_import_needs_torch_alone():
    """Where no OpenMMLab package is installed, ops work all the same."""
    code = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg'):
            raise ModuleNotFoundError(name)
import importlib.util as util
find = util.find_spec
util.find_spec = lambda name, *a: None if name == 'mmengine' else find(name, *a)
sys.meta_path.insert(0, Hide())
import torch, smpconv_mm
from smpconv_mm.ops import depthwise_conv2d
print(depthwise_conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3)).sum())
"""
    result = run(code)
    assert result.stdout.strip() == 'tensor(49.)', result.stderr


def test_broken_mmengine_is_told_and_does_not_stop_the_operations():
    code = """
import sys, warnings
sys.modules['mmengine.registry'] = None
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter('always')
    import smpconv_mm.ops
print([str(w.message) for w in told if 'smpconv_mm' in str(w.message)])
"""
    result = run(code)
    assert 'MMEngine is installed but cannot be imported' in result.stdout, (
        result.stderr
    )
    assert 'tools/install.sh' in result.stdout


def test_import_is_cheap():
    """Neither mmcv nor mmpretrain nor matplotlib is pulled in."""
    result = run(
        'import sys, smpconv_mm;'
        'print([m for m in ("mmcv", "mmpretrain", "matplotlib.pyplot", "sklearn")'
        ' if m in sys.modules])'
    )
    assert result.stdout.strip() == '[]', result.stdout + result.stderr
