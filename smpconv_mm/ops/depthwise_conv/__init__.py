"""Depthwise 2-D convolution with 'same' padding, for small and large kernels.

``operator.py`` holds the public function and all that is written once: checks,
autocast, derivatives of any order, shapes for ``torch.compile``, operation counts.
Every other file is a backend, named after it.
"""

from __future__ import annotations

import torch

from ..dispatch import register_operation
from .conv2d import Conv2d
from .cpp import Cpp
from .cuda import Cuda
from .onednn import OneDNN
from .onednn_cpp import OneDNNCpp
from .operator import depthwise_conv2d


def _example(shape, kernel_size, **options) -> tuple:
    channels = shape[1]
    return (
        torch.ones(shape, **options),
        torch.ones(channels, 1, kernel_size, kernel_size, **options),
        None,
    )


register_operation(
    'depthwise_conv2d', [OneDNNCpp(), Cpp(), Cuda(), OneDNN(), Conv2d()], _example
)

__all__ = ['depthwise_conv2d']
