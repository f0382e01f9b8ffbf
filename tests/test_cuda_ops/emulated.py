"""The device code of ``cuda_ops``, compiled for the CPU and called with tensors."""

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch

CUDA_OPS = Path(__file__).parents[2] / 'cuda_ops'
COMPILER = shutil.which(os.environ.get('CXX', 'c++'))
TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}

needs_compiler = pytest.mark.skipif(COMPILER is None, reason='no C++ compiler')


class EmulatorError(RuntimeError):
    """What the emulator found: a deadlock, an access out of bounds, ..."""


class Problem(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int)
        for name in (
            'batch channels height width kernel_height kernel_width '
            'has_mma shared_of_block processors'
        ).split()
    ] + [('seed', ctypes.c_uint)]


def compile_cpp(source, target, *arguments, sources=CUDA_OPS / 'csrc' / 'cuda'):
    command = [COMPILER, '-std=c++17', '-O1', '-Wno-unknown-pragmas', *arguments]
    command += ['-DSMPCONV_MM_EMULATED', f'-I{CUDA_OPS / "emulator"}', f'-I{sources}']
    done = subprocess.run(
        [*command, str(source), '-o', str(target)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


class Kernels:
    """Kernels compiled from a folder of device code."""

    def __init__(self, sources, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder, 'kernels.so')
            driver = CUDA_OPS / 'emulator' / 'driver.cpp'
            compile_cpp(
                driver, library, '-shared', '-fPIC', *arguments, sources=sources
            )
            self.library = ctypes.CDLL(str(library))

    def _call(self, name, problem, dtype, *tensors):
        message = ctypes.create_string_buffer(500)
        pointers = [
            None if t is None else ctypes.c_void_p(t.data_ptr()) for t in tensors
        ]
        status = getattr(self.library, name)(
            ctypes.byref(problem), TYPES[dtype], *pointers, message, 500
        )
        if status == 2:
            raise EmulatorError(message.value.decode())
        assert status == 0, 'no kernel fits'

    def conv(self, x, weight, bias=None, **options):
        """The convolution; tensors must be contiguous."""
        out = guarded(torch.full(x.shape, float('nan')), x.dtype)
        problem = make_problem(x, *weight.shape[2:], **options)
        self._call('emulated_conv', problem, x.dtype, x, weight, bias, out)
        check_guards(out)
        return out

    def weight(self, x, grad, kh, kw, **options):
        """The gradient of the kernel."""
        shape = (x.shape[1], 1, kh, kw)
        out = guarded(torch.full(shape, float('nan')), x.dtype)
        problem = make_problem(x, kh, kw, **options)
        self._call('emulated_weight', problem, x.dtype, x, grad, out)
        check_guards(out)
        return out


def make_problem(x, kh, kw, mma=True, shared=227 << 10, processors=2, seed=0):
    return Problem(*x.shape, kh, kw, mma, shared, processors, seed)


@functools.lru_cache
def kernels():
    return Kernels(CUDA_OPS / 'csrc' / 'cuda')


GUARD = 64  # elements: a multiple of 16 bytes in every dtype


def guarded(tensor, dtype, offset=0):
    """A contiguous copy with NaN before and behind it, to be found if it is read."""
    flat = torch.full((GUARD + offset + tensor.numel() + GUARD,), float('nan')).to(
        dtype
    )
    view = flat[GUARD + offset : flat.numel() - GUARD].view(tensor.shape)
    view.copy_(tensor)
    return view


def check_guards(view):
    flat = torch.empty(0, dtype=view.dtype).set_(view.untyped_storage())
    assert flat[:GUARD].isnan().all() and flat[-GUARD:].isnan().all(), (
        'a write out of bounds'
    )
