"""Depthwise 2-D convolution whose kernels are lines, one direction per channel.

``operator.py`` holds the public function and all that is written once; every other
file is a backend, named after it.
"""

from __future__ import annotations

import math

import torch

from ..dispatch import register_operation
from .cpp import Cpp
from .cuda import Cuda
from .dense import Dense, dense_kernel
from .operator import oriented_conv2d


def _example(shape, kernel_size, **options) -> tuple:
    channels, device = shape[1], options.get('device')
    return (
        torch.ones(shape, **options),
        torch.ones(channels, 1, 1, kernel_size, **options),
        torch.arange(channels, device=device, dtype=torch.float32) * (math.pi / 8),
        None,
        1,
    )


register_operation('oriented_conv2d', [Cpp(), Cuda(), Dense()], _example)

__all__ = ['dense_kernel', 'oriented_conv2d']
