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
        weight (Tensor): Taps of shape (C_out, C_in, 1, K), C_in as in one group.
        angle (Tensor): Radians of shape (C_out,).

    Returns:
        Tensor: Shape (C_out, C_in, K, K), differentiable by the taps.
    """
    out_channels, in_channels, _, taps = weight.shape
    rows, columns = (reference.line_offsets(angle, taps) + taps // 2).unbind(-1)
    values = weight.squeeze(2)
    if weight.device.type == 'cpu':
        flat = values.new_zeros(out_channels, in_channels, taps * taps)
        places = (rows * taps + columns)[:, None].expand(values.shape)
        return flat.scatter_add(2, places, values).unflatten(2, (taps, taps))
    # adds up in an order that never changes, which scatter_add does not on a GPU
    channel = torch.arange(out_channels, device=angle.device)[:, None]
    kernel = values.new_zeros(out_channels, taps, taps, in_channels)
    kernel = kernel.index_put(
        (channel, rows, columns), values.transpose(1, 2), accumulate=True
    )
    return kernel.permute(0, 3, 1, 2)
