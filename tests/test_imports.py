"""Who may import whom, and what importing needs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'smpconv_mm'
FILES = sorted(PACKAGE.rglob('*.py'))

EVERY = pytest.mark.parametrize(
    'path', FILES, ids=lambda p: str(p.relative_to(PACKAGE))
)


def table():
    """Rows of docs/rooms.md: what a room may import of this package and of others."""
    rooms = {}
    for line in (ROOT / 'docs/rooms.md').read_text().splitlines():
        if line.startswith('| `'):
            name, _, ours, others = (cell.strip() for cell in line.split('|')[1:-1])
            rooms[name.strip('`')] = tuple(
                set(filter(None, cell.split(', '))) for cell in (ours, others)
            )
    return rooms


ROOMS = table()


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def imports(path, inside=True):
    """Absolute names of the modules that a file imports, also inside of functions."""
    package = path.relative_to(ROOT).with_suffix('').parts[:-1]
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if inside else tree.body:
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


def rooms_in(names):
    """Rooms among the names of modules; of the package itself, its version is seen."""
    for name in names:
        top, *rest = name.split('.')
        if top == 'smpconv_mm' and rest:
            yield rest[0].replace('__version__', 'version')


def test_table_is_complete():
    assert set(ROOMS) == {room_of(path) for path in FILES} - {'__init__'}
    for room, (ours, _) in ROOMS.items():
        assert ours <= set(ROOMS) - {room}, room


def test_no_two_rooms_need_each_other():
    left = {room: set(ours) for room, (ours, _) in ROOMS.items()}
    while left:
        free = {room for room, needs in left.items() if not needs & set(left)}
        assert free, f'a circle among {sorted(left)}'
        left = {room: needs for room, needs in left.items() if room not in free}


@EVERY
def test_rooms(path):
    room = room_of(path)
    if room == '__init__':
        allowed, others = {'version', 'registry', 'compat', 'layers', 'apis'}, set()
    else:
        allowed, others = ROOMS[room]
    names = list(imports(path))
    assert set(rooms_in(names)) <= allowed | {room}
    known = {*sys.stdlib_module_names, 'smpconv_mm', 'torch', 'numpy'} | others
    if room == 'ops':
        known.remove('numpy')
        if path.name == 'cupy.py':  # inside of functions, where CuPy is installed
            known.add('cupy')
    assert {name.split('.')[0] for name in names} <= known


@EVERY
def test_exceptions_of_the_table(path):
    parts = path.relative_to(PACKAGE).parts
    tops = {name.split('.')[0] for name in imports(path)}
    if tops & {'mmdet', 'mmseg'}:
        assert parts[:2] in [('models', n) for n in ('necks', 'heads', 'losses')]
    at_once = list(imports(path, inside=False))
    if parts[0] == 'engine':
        assert 'visualization' not in rooms_in(at_once)
    if parts == ('apis', 'benchmark.py'):
        tops = {name.split('.')[0] for name in at_once}
        assert tops <= {*sys.stdlib_module_names, 'torch'}
    if parts != ('ops', 'extension.py'):
        assert 'load_library' not in path.read_text()


@EVERY
def test_no_print_in_the_library(path):
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
    """Neither mmcv nor mmpretrain nor matplotlib nor timm is pulled in."""
    result = run(
        'import sys, smpconv_mm;'
        'names = ("mmcv", "mmpretrain", "matplotlib.pyplot", "sklearn", "timm");'
        'print([m for m in names if m in sys.modules])'
    )
    assert result.stdout.strip() == '[]', result.stdout + result.stderr
