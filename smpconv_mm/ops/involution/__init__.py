"""Convolution with a kernel of its own at every place: involution and its relatives.

``operator.py`` holds the public function and all that is written once: checks,
autocast, derivatives of any order, shapes for ``torch.compile``, operation counts.
Every other file is a backend, named after it; ``maps.py`` serves those in plain torch.
"""

from __future__ import annotations

import torch

from ..dispatch import register_operation
from .cpp import Cpp
from .cuda import Cuda
from .cupy import CuPy
from .operator import involution
from .shift import Shift
from .unfold import Unfold


def _example(shape, kernel_size, **options) -> tuple:
    n, channels, height, width = shape
    groups = max(1, channels // 16) if channels % 16 == 0 else 1
    window = (1, (kernel_size - 1) // 2, 1)  # stride, padding, dilation
    sizes = [size + 2 * window[1] - kernel_size + 1 for size in (height, width)]
    weight = (n, groups, kernel_size, kernel_size, *sizes)
    maps = torch.ones(shape, **options), torch.ones(weight, **options)
    return (*maps, *window, False, False)


register_operation('involution', [Cpp(), Cuda(), CuPy(), Shift(), Unfold()], _example)

__all__ = ['involution']
