"""The compiled operations of ``cuda_ops/``: loads them, or knows why not.

They are optional. Importing this file never fails; without them every operation
runs through torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch


def find_library(folder: Path) -> Path:
    """The library in a folder, by the platform's ending; ``_ext.so`` if none is."""
    names = [folder / f'_ext{ending}' for ending in ('.so', '.pyd', '.dylib')]
    return next((name for name in names if name.exists()), names[0])


LIBRARY = find_library(Path(__file__).parents[1])
LEAST_TORCH = '2.10'  # the first with all of the stable ABI that is used
NAMESPACE = 'smpconv_mm_ext'
DEVICES = ('cpu', 'cuda')

_BUILD = 'run "bash tools/install.sh", or in a checkout "python setup.py build_ext -i"'


def load(path: Path = LIBRARY) -> str | None:
    """Load the library; returns why it cannot be used, or None."""
    if not path.exists():
        return f'the compiled operations are not built: {_BUILD}'
    version = torch.__version__  # compares with strings as versions do
    if version < LEAST_TORCH:
        return (
            f'the compiled operations need torch {LEAST_TORCH} or newer, this is '
            f'{version}'
        )
    try:
        torch.ops.load_library(path)
    except (OSError, RuntimeError) as error:
        return f'{path} does not load with torch {version} ({error}): {_BUILD}'
    return None


def _find_kernels() -> dict[str, tuple[str, ...]]:
    """Names of the operators that the library has, and devices with a kernel."""
    names = [
        name
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith(f'{NAMESPACE}::')
    ]
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return {
        name.partition('::')[2]: tuple(d for d in DEVICES if has(name, d.upper()))
        for name in names
    }


LOAD_ERROR: str | None = load()
"""Why the library cannot be used at all, or None."""

_KERNELS = _find_kernels()


def why_not(op: str | Sequence[str], device: str) -> str | None:
    """Why compiled operators cannot run on a type of device, or None if they can.

    Args:
        op (str | Sequence[str]): Name of an operator in
            ``cuda_ops/csrc/registration.cpp``, or of all that are needed.
        device (str): Type of the device, ``'cpu'`` or ``'cuda'``.
    """
    if device not in DEVICES:
        return f'there are no compiled operations for {device}'
    if LOAD_ERROR is not None:
        return LOAD_ERROR
    for name in (op,) if isinstance(op, str) else op:
        if name not in _KERNELS:
            return f'{LIBRARY} is of another version, it lacks {name!r}: {_BUILD}'
        if device not in _KERNELS[name]:
            return (
                f'the compiled operation {name!r} was built without {device.upper()} '
                '(FORCE_CUDA=1 or "tools/install.sh --cuda on" builds with it)'
            )
    return None


@contextmanager
def use_plan(plan: str) -> Iterator[None]:
    """Within this context CUDA kernels take values of their plan from the caller.

    For tuning: without it each call is planned for its shape and GPU. The variable
    ``SMPCONV_MM_PLAN`` of the environment does the same for a whole program. A call
    for which the plan is wrong or does not fit raises RuntimeError. It holds for all
    threads, and a captured CUDA graph keeps the plan it was captured with.

    Args:
        plan (str): Passes and their settings, such as
            ``'conv:images=4,warps=8;weight:splits=4'``. The settings of each pass are
            in ``cuda_ops/csrc/cuda/plan_settings.cuh``.
    """
    before = os.environ.get('SMPCONV_MM_PLAN')
    os.environ['SMPCONV_MM_PLAN'] = plan
    try:
        yield
    finally:
        if before is None:
            del os.environ['SMPCONV_MM_PLAN']
        else:
            os.environ['SMPCONV_MM_PLAN'] = before
