"""Compiles an operator's driver and calls it; needs a C++ compiler and torch."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from filelock import FileLock

EMULATOR = Path(__file__).resolve().parent
CSRC = EMULATOR.parent / 'csrc' / 'cuda'
CACHE = EMULATOR.parents[1] / 'build' / 'emulator'
COMPILER = shutil.which(os.environ.get('CXX', 'c++'))
TYPES = {'float32': 0, 'float16': 1, 'bfloat16': 2}


class EmulatorError(RuntimeError):
    """What the emulator found: a deadlock, an access out of bounds, ..."""


class Launch(ctypes.Structure):
    """As in driver.h."""

    _fields_ = [
        ('kernel', ctypes.c_void_p),
        ('blocks', ctypes.c_int64),
        ('threads', ctypes.c_int),
        ('shared', ctypes.c_int),
    ]


class Machine(ctypes.Structure):
    """As in driver.h."""

    _fields_ = [
        ('has_mma', ctypes.c_int),
        ('shared_of_block', ctypes.c_int),
        ('shared_of_processor', ctypes.c_int),
        ('processors', ctypes.c_int),
        ('seed', ctypes.c_uint),
        ('plan', ctypes.c_char_p),
        ('launches', ctypes.c_void_p),
        ('count', ctypes.c_void_p),
    ]


class _Symbol(ctypes.Structure):
    """What dladdr says."""

    _fields_ = [
        ('file', ctypes.c_char_p),
        ('base', ctypes.c_void_p),
        ('name', ctypes.c_char_p),
        ('address', ctypes.c_void_p),
    ]


def machine(mma=True, shared=227 << 10, processors=2, seed=0, plan=''):
    """A device: `shared` are the most bytes of a block, the system's not counted."""
    return Machine(mma, shared, shared + 1024, processors, seed, plan.encode())


def compile_cpp(source, target, *arguments, sources=CSRC):
    """Compile a program or library of device code; raises RuntimeError."""
    command = [COMPILER, '-std=c++17', '-O1', '-Wno-unknown-pragmas', *arguments]
    command += ['-DSMPCONV_MM_EMULATED', f'-I{EMULATOR}', f'-I{sources}']
    command += [str(source), '-o', str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'{source} does not compile:\n{done.stderr}')


def library(name, sources=CSRC, *arguments):
    """Path of an operator's compiled driver; what was compiled before is kept."""
    files = [EMULATOR / f'{name}.cpp', *sorted(EMULATOR.glob('*.h'))]
    files += sorted(Path(sources).glob('*.cuh'))
    text = [os.path.realpath(COMPILER), *arguments, *map(Path.read_text, files)]
    key = hashlib.sha256(repr(text).encode()).hexdigest()[:16]
    target = CACHE / f'{name}-{key}.so'
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix('.lock')):
        if not target.exists():
            part = target.with_suffix('.part')
            options = ('-shared', '-fPIC', *arguments)
            compile_cpp(files[0], part, *options, sources=sources)
            part.replace(target)
    return target


class Driver:
    """The compiled driver of an operator.

    Args:
        name (str): A file of this folder without its ending, such as
            ``'depthwise_conv'``.
        sources (Path): Folder of the device code. Defaults to csrc/cuda.
        arguments (str): More arguments of the compiler.
    """

    def __init__(self, name, sources=CSRC, *arguments):
        self.library = ctypes.CDLL(str(library(name, sources, *arguments)))

    def call(self, function, device, shape, dtype, pointers):
        """Call a function of the driver.

        Args:
            function (str): Its name.
            device (Machine): See :func:`machine`.
            shape (Sequence[int]): The members of the operator's struct of its shape.
            dtype (str): Of all tensors: a key of ``TYPES``.
            pointers (Sequence[int | None]): Of the inputs and the output.

        Raises:
            EmulatorError: If the emulator found a mistake.
            ValueError: If no plan fits.
        """
        message = ctypes.create_string_buffer(1000)
        status = getattr(self.library, function)(
            ctypes.byref(device),
            (ctypes.c_int * len(shape))(*shape),
            TYPES[dtype],
            *[p if p is None else ctypes.c_void_p(p) for p in pointers],
            message,
            1000,
        )
        if status == 2:
            raise EmulatorError(message.value.decode())
        if status:
            raise ValueError(f'{function}: no plan fits {tuple(shape)}')

    def planned(self, function, device, shape, dtype, tensors):
        """What a function would launch on a device: nothing runs.

        Returns:
            list[tuple[str, Launch]]: Mangled names of the kernels, in order.
        """
        launches, count = (Launch * 8)(), ctypes.c_int(0)
        device.launches = ctypes.addressof(launches)
        device.count = ctypes.addressof(count)
        Driver.call(self, function, device, shape, dtype, [None] * tensors)
        found = []
        for launch in launches[: count.value]:
            symbol = _Symbol()
            ctypes.CDLL(None).dladdr(
                ctypes.c_void_p(launch.kernel), ctypes.byref(symbol)
            )
            found.append((symbol.name.decode(), launch))
        return found
