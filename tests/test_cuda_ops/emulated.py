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


class Machine(ctypes.Structure):
    """The device that is emulated, a plan, the order of threads; as in driver.h."""

    _fields_ = [
        ('has_mma', ctypes.c_int),
        ('shared_of_block', ctypes.c_int),
        ('processors', ctypes.c_int),
        ('seed', ctypes.c_uint),
        ('plan', ctypes.c_char_p),
    ]


def machine(mma=True, shared=227 << 10, processors=2, seed=0, plan=''):
    return Machine(mma, shared, processors, seed, plan.encode())


def compile_cpp(source, target, *arguments, sources=CUDA_OPS / 'csrc' / 'cuda'):
    command = [COMPILER, '-std=c++17', '-O1', '-Wno-unknown-pragmas', *arguments]
    command += ['-DSMPCONV_MM_EMULATED', f'-I{CUDA_OPS / "emulator"}', f'-I{sources}']
    done = subprocess.run(
        [*command, str(source), '-o', str(target)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


class Kernels:
    """An operator's kernels, compiled from a folder of device code.

    Args:
        driver (str): Name of a file of cuda_ops/emulator, without its ending.
    """

    def __init__(self, driver, sources=CUDA_OPS / 'csrc' / 'cuda', *arguments):
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder, 'kernels.so')
            source = CUDA_OPS / 'emulator' / f'{driver}.cpp'
            compile_cpp(
                source, library, '-shared', '-fPIC', *arguments, sources=sources
            )
            self.library = ctypes.CDLL(str(library))

    def call(self, name, shape, inputs, out_shape, **options):
        """Call a function of the driver.

        Args:
            name (str): The function.
            shape (list[int]): The members of the operator's struct of its shape.
            inputs (list[Tensor | None]): Contiguous, of one dtype.
            out_shape (tuple[int, ...]): Shape of the result.
            options: Arguments of :func:`machine`.

        Returns:
            Tensor: The result, of the inputs' dtype.
        """
        dtype = inputs[0].dtype
        out = guarded(torch.full(out_shape, float('nan')), dtype)
        message = ctypes.create_string_buffer(500)
        pointers = [
            None if t is None else ctypes.c_void_p(t.data_ptr()) for t in (*inputs, out)
        ]
        status = getattr(self.library, name)(
            ctypes.byref(machine(**options)),
            (ctypes.c_int * len(shape))(*shape),
            TYPES[dtype],
            *pointers,
            message,
            500,
        )
        if status == 2:
            raise EmulatorError(message.value.decode())
        assert status == 0, 'no plan fits'
        check_guards(out)
        return out


@functools.lru_cache
def kernels(driver):
    return Kernels(driver)


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
