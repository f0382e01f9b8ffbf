"""The taps in a dense kernel, for any device and dtype, which exporters know."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import reference
from ..depthwise_conv import depthwise_conv2d
from ..dispatch import Backend, exporting


class Dense(Backend):
    """A depthwise convolution with K x K kernels."""

    name = 'dense'

    def run(self, input, weight, angle, bias, stride) -> Tensor:
        """Make the kernels and convolve."""
        kernel = dense_kernel(weight, angle)
        if exporting():
            padding, groups = weight.shape[-1] // 2, weight.shape[0]
            return F.conv2d(input, kernel, bias, stride, padding, groups=groups)
        out = depthwise_conv2d(input, kernel, bias)
        return out if stride == 1 else out[:, :, ::stride, ::stride]


def dense_kernel(weight: Tensor, angle: Tensor) -> Tensor:
    """Kernels with the taps in their places, and zeros elsewhere.

    Args:
        weight (Tensor): Taps of shape (C, 1, 1, K).
        angle (Tensor): Radians of shape (C,).

    Returns:
        Tensor: Shape (C, 1, K, K), differentiable by the taps.
    """
    channels, taps = weight.shape[0], weight.shape[-1]
    rows, columns = (reference.line_offsets(angle, taps) + taps // 2).unbind(-1)
    values = weight.flatten(1)
    if weight.device.type == 'cpu':
        flat = values.new_zeros(channels, taps * taps)
        flat = flat.scatter_add(1, rows * taps + columns, values)
        return flat.view(channels, 1, taps, taps)
    # adds up in an order that never changes, which scatter_add does not on a GPU
    places = (torch.arange(channels, device=angle.device)[:, None], rows, columns)
    kernel = values.new_zeros(channels, taps, taps)
    return kernel.index_put(places, values, accumulate=True)[:, None]
