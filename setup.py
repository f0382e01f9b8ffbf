"""Packaging, and the compiled operations of ``cuda_ops/``.

They are built where torch can be imported and a C++ compiler is found (so with
``--no-build-isolation``); a build that fails leaves a package without them.

    SMPCONV_MM_WITH_EXT=1  a build that cannot be made is an error; 0: no build
    FORCE_CUDA=1           with CUDA also where no GPU is seen, or an error
    TORCH_CUDA_ARCH_LIST   what to compile for, e.g. "8.0;9.0a"; without it and
                           without a GPU, all of ARCHS that the toolkit knows
    MAX_JOBS               number of compiler processes
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

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
        if not self.editable_mode:  # files of earlier builds would be packed, too
            shutil.rmtree(Path(self.build_lib, 'smpconv_mm'), ignore_errors=True)
        super().run()
        if self.editable_mode:
            add_mim_files(ROOT / 'smpconv_mm', link=True)
        else:
            add_mim_files(Path(self.build_lib, 'smpconv_mm'), link=False)


SWITCH = os.environ.get('SMPCONV_MM_WITH_EXT', '')
FORCE_CUDA = os.environ.get('FORCE_CUDA') == '1'
REQUIRED = SWITCH == '1' or (FORCE_CUDA and SWITCH != '0')

# torch's build takes these operators away.
ALLOW_HALF = [
    '-U__CUDA_NO_HALF_OPERATORS__',
    '-U__CUDA_NO_HALF_CONVERSIONS__',
    '-U__CUDA_NO_HALF2_OPERATORS__',
    '-U__CUDA_NO_BFLOAT16_CONVERSIONS__',
]


def find_cuda_home():
    """Root of the toolkit, also where the nvcc in PATH is a wrapper."""
    nvcc = shutil.which('nvcc') or shutil.which('/usr/local/cuda/bin/nvcc')
    if nvcc is None:
        return None
    command = [nvcc, '--dryrun', '-c', '-x', 'cu', os.devnull, '-o', os.devnull]
    said = subprocess.run(command, capture_output=True, text=True).stderr
    top = re.search(r'^#\$ TOP=(.+)$', said, re.MULTILINE)
    return str(Path(top.group(1) if top else Path(nvcc).parents[1]).resolve())


# One for each generation: code for 8.0 also runs on 8.6 and 8.9, code for 10.0 on 10.3.
ARCHS = ('7.5', '8.0', '9.0a', '10.0', '12.0')


def known_archs(nvcc):
    """Those of ARCHS that a toolkit compiles for, the newest also for later GPUs."""
    said = subprocess.run([nvcc, '--list-gpu-arch'], capture_output=True, text=True)
    known = set(re.findall(r'compute_(\d+)', said.stdout))
    archs = [a for a in ARCHS if re.sub(r'\D', '', a) in known]
    later = [a for a in archs if not a.endswith('a')][-1:]
    return ';'.join(f'{a}+PTX' if a in later else a for a in archs)


class Wheel(bdist_wheel):
    """A wheel for every Python: the library does not use Python's interface."""

    def get_tag(self):
        python, abi, platform = super().get_tag()
        return ('py3', 'none', platform) if ext_modules else (python, abi, platform)


def make_extension():
    """The library and the command that builds it; raises RuntimeError."""
    if find_spec('torch') is None:
        raise RuntimeError('torch cannot be imported here (--no-build-isolation?)')
    if not os.environ.get('CUDA_HOME') and find_cuda_home():
        os.environ['CUDA_HOME'] = find_cuda_home()
    import torch
    from torch.utils import cpp_extension

    if torch.__version__ < '2.10':
        raise RuntimeError(f'torch {torch.__version__} is older than 2.10')

    csrc = Path('cuda_ops', 'csrc')
    sources = [csrc / 'registration.cpp', *sorted(csrc.glob('cpu/*.cpp'))]
    kernels = sorted(csrc.glob('cuda/*.cu'))
    with_cuda = bool(kernels) and (FORCE_CUDA or torch.cuda.is_available())
    if with_cuda and not (torch.version.cuda and cpp_extension.CUDA_HOME):
        lacks = 'nvcc was not found' if torch.version.cuda else 'torch is without CUDA'
        if FORCE_CUDA:
            raise RuntimeError(f'FORCE_CUDA=1, but {lacks}')
        with_cuda = False

    # 2.10 is the least torch that the library shall load with.
    flags = ['-O3', '-DTORCH_TARGET_VERSION=0x020a000000000000']
    compile_args = {'cxx': [*flags, '-g0', '-ffp-contract=fast']}
    options = dict(py_limited_api=True, optional=not REQUIRED)
    make = cpp_extension.CppExtension
    if with_cuda:
        make = cpp_extension.CUDAExtension
        sources += kernels
        compile_args['nvcc'] = [*flags, '-DUSE_CUDA', *ALLOW_HALF]
        home = Path(cpp_extension.CUDA_HOME)
        if not (home / 'include' / 'cuda_runtime.h').exists():
            # the compiler alone, as a wheel: torch's wheels carry the headers
            wheels = Path(torch.__file__).parents[1] / 'nvidia'
            options['include_dirs'] = [str(p) for p in sorted(wheels.glob('*/include'))]
        if not torch.cuda.is_available():
            archs = known_archs(home / 'bin' / 'nvcc')
            os.environ.setdefault('TORCH_CUDA_ARCH_LIST', archs)

    class BuildExt(cpp_extension.BuildExtension):
        def build_extensions(self):
            try:
                super().build_extensions()
            except Exception as error:
                if REQUIRED:
                    raise
                print(f'warning: going on without the compiled operations: {error}')

    extension = make(
        'smpconv_mm._ext',
        [str(p) for p in sources],
        depends=[str(p) for p in sorted(csrc.rglob('*.*h'))],
        extra_compile_args=compile_args,
        **options,
    )
    return extension, BuildExt.with_options(no_python_abi_suffix=True)


ext_modules, cmdclass = [], {'build_py': BuildPy, 'bdist_wheel': Wheel}
if SWITCH != '0':
    try:
        extension, cmdclass['build_ext'] = make_extension()
        ext_modules.append(extension)
    except RuntimeError as error:
        if REQUIRED:
            sys.exit(f'setup.py: the compiled operations cannot be built: {error}')

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
    package_data={'smpconv_mm': ['ops/involution/*.cu']},
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
        'deploy': ['onnx', 'onnxruntime', 'onnxscript'],
        'tensorboard': ['tensorboard'],
        'safetensors': ['safetensors'],
        'hub': ['huggingface_hub>=0.22', 'safetensors'],
        'timm': ['timm>=1.0'],
        # 1.5.5 brings a second OpenCV along, which overwrites the first
        'cam': ['grad-cam<1.5.5'],
        'docs': read_requirements('docs.txt'),
        'tests': read_requirements('tests.txt'),
    },
    ext_modules=ext_modules,
    cmdclass=cmdclass,
)
