"""What is in a wheel; ``tools/check_wheel.sh`` installs it and runs a network."""

import os
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from smpconv_mm import __version__

pytest.importorskip('build')
ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'smpconv_mm'


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """Built from the source distribution, so with nothing that this lacks."""
    folder = tmp_path_factory.mktemp('dist')
    command = [
        sys.executable,
        '-m',
        'build',
        '--no-isolation',
        '--outdir',
        folder,
        ROOT,
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, 'SMPCONV_MM_WITH_EXT': '0'},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        f'smpconv_mm-{__version__}-py3-none-any.whl',
        f'smpconv_mm-{__version__}.tar.gz',
    ]
    with zipfile.ZipFile(folder / names[0]) as archive:
        yield archive


def files_below(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


def test_files(wheel):
    """The package, configs and tools, and nothing else."""
    packed = {name for name in wheel.namelist() if '.dist-info/' not in name}
    code = {
        name
        for name in files_below(PACKAGE)
        if not name.startswith('.mim/') and Path(name).suffix != '.so'
    }
    beside = {'model-index.yml'}
    for folder in ('configs', 'tools'):
        beside |= {f'{folder}/{name}' for name in files_below(ROOT / folder)}
    expected = {f'smpconv_mm/{name}' for name in code}
    expected |= {f'smpconv_mm/.mim/{name}' for name in beside}
    assert packed == expected


def test_metadata(wheel):
    """The version stands once, in version.py; the lists of packages in requirements."""
    (name,) = (n for n in wheel.namelist() if n.endswith('.dist-info/METADATA'))
    told = message_from_bytes(wheel.read(name))
    assert told['Version'] == __version__ and told['Requires-Python'] == '>=3.9'
    needed = told.get_all('Requires-Dist')
    lines = (ROOT / 'requirements/runtime.txt').read_text().splitlines()
    assert [n for n in needed if 'extra ==' not in n] == [
        line for line in lines if not line.startswith('#')
    ]
    extras = set(told.get_all('Provides-Extra'))
    assert {'openmmlab', 'onedl', 'deploy', 'safetensors', 'hub', 'timm'} <= extras
    written = [
        path.relative_to(ROOT)
        for pattern in ('*.toml', '*.py', 'smpconv_mm/**/*.py')
        for path in ROOT.glob(pattern)
        if f"'{__version__}'" in path.read_text()
    ]
    assert written == [Path('smpconv_mm/version.py')]
