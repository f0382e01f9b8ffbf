import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


def read_version():
    text = (ROOT / 'smpconv_mm' / 'version.py').read_text()
    return re.search(r"__version__ = '(.+)'", text).group(1)


def read_requirements(name):
    lines = (ROOT / 'requirements' / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def add_mim_files(package, link):
    """Puts configs and tools where `mim` and MMEngine look for them."""
    folder = Path(package, '.mim')
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ('configs', 'tools', 'model-index.yml'):
        source = ROOT / name
        if not source.exists():
            continue
        if link:
            target = os.path.relpath(source, folder)
            (folder / name).symlink_to(target, target_is_directory=source.is_dir())
        elif source.is_dir():
            ignored = shutil.ignore_patterns('__pycache__')
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)


class BuildPy(build_py):
    def run(self):
        super().run()
        if self.editable_mode:
            add_mim_files(ROOT / 'smpconv_mm', link=True)
        else:
            add_mim_files(Path(self.build_lib, 'smpconv_mm'), link=False)


readme = ROOT / 'README.md'

setup(
    name='smpconv_mm',
    version=read_version(),
    description='Backbones with large and continuous kernels for OpenMMLab',
    long_description=readme.read_text() if readme.exists() else '',
    long_description_content_type='text/markdown',
    license='MIT',
    python_requires='>=3.9',
    packages=find_packages(include=['smpconv_mm', 'smpconv_mm.*']),
    # No OpenMMLab package: two sets of them share their import names.
    install_requires=read_requirements('runtime.txt'),
    extras_require={
        'openmmlab': [
            'mmengine>=0.10.4,<1.0',
            'mmcv-lite>=2.0.0,<2.2.0',
            'mmpretrain>=1.2.0,<2.0',
        ],
        'onedl': [
            'onedl-mmengine>=0.10.10,<1.0',
            'onedl-mmcv>=2.3.0,<2.4.0',
            'onedl-mmpretrain>=1.3.0,<2.0',
        ],
        'cuda11x': ['cupy-cuda11x'],
        'cuda12x': ['cupy-cuda12x'],
        'cuda13x': ['cupy-cuda13x'],
        'onnx': ['onnx', 'onnxruntime', 'onnxscript'],
        'audio': ['soundfile'],
        'tensorboard': ['tensorboard'],
        'tests': read_requirements('tests.txt'),
    },
    cmdclass={'build_py': BuildPy},
)
