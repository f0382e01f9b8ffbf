"""The compiled operations of ``cuda_ops/``: loads them, or knows why not.

They are optional. Importing this file never fails; without them every operation
runs through torch.
"""

from __future__ import annotations

from pathlib import Path

import torch

LIBRARY = Path(__file__).parents[1] / '_ext.so'
LEAST_TORCH = (2, 10)  # the first with all of the stable ABI that is used
OPERATIONS = ('depthwise_conv2d', 'depthwise_conv2d_weight')

_BUILD = 'run "bash tools/install.sh", or in a checkout "python setup.py build_ext -i"'


def load(path: Path = LIBRARY) -> str | None:
    """Load the library; returns why it cannot be used, or None."""
    if not path.exists():
        return f'the compiled operations are not built: {_BUILD}'
    version = torch.__version__
    if tuple(int(x) for x in version.split('.')[:2]) < LEAST_TORCH:
        least = '.'.join(map(str, LEAST_TORCH))
        return f'the compiled operations need torch {least} or newer, this is {version}'
    try:
        torch.ops.load_library(path)
    except (OSError, RuntimeError) as error:
        return f'{path} does not load with torch {version} ({error}): {_BUILD}'
    missing = [op for op in OPERATIONS if not hasattr(torch.ops.smpconv_mm_ext, op)]
    if missing:
        return f'{path} is of another version, it lacks {missing}: {_BUILD}'
    return None


def _why_not(device: str) -> str | None:
    if _REASON is not None:
        return _REASON
    for op in OPERATIONS:
        name = f'smpconv_mm_ext::{op}'
        if not torch._C._dispatch_has_kernel_for_dispatch_key(name, device.upper()):
            return (
                f'the compiled operations were built without {device.upper()} '
                '(FORCE_CUDA=1 or "tools/install.sh --cuda on" builds with it)'
            )
    return None


_REASON = load()
_WHY_NOT = {device: _why_not(device) for device in ('cpu', 'cuda')}

HAS_EXT: bool = _REASON is None
"""Whether the library is there and loads."""


def why_not(device: str = 'cpu') -> str | None:
    """Why compiled operations cannot run on a type of device, or None if they can.

    Args:
        device (str): ``'cpu'`` or ``'cuda'``.
    """
    return _WHY_NOT.get(device, f'there are none for {device}')
