"""Ordinary convolution that sees the past only."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smpconv_mm import ops
from smpconv_mm.registry import MODELS


@MODELS.register_module()
class CausalConv1d(nn.Conv1d):
    """``nn.Conv1d`` whose outputs depend on the current and earlier samples.

    The last tap multiplies the current sample; what lies before the sequence is
    zero. Any kernel size, stride 1.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        kernel_size (int): Taps.
        bias (bool): Defaults to True.
        **kwargs: For builders that pass all arguments of a convolution:
            ``stride``, ``padding``, ``dilation`` and ``groups``, which must have
            their defaults.

    Input: (N, in_channels, L). Output: (N, out_channels, L).

    Raises:
        ValueError: If one of ``kwargs`` has another value than its default.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        bias: bool = True,
        **kwargs,
    ) -> None:
        defaults = dict(stride=1, padding=0, dilation=1, groups=1)
        for name, value in kwargs.items():
            if name not in defaults or value not in (
                defaults[name],
                (defaults[name],),
            ):
                raise ValueError(
                    f'CausalConv1d has no {name}={value!r}; it is dense, has stride '
                    'and dilation 1 and pads by itself'
                )
        super().__init__(in_channels, out_channels, kernel_size, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``input``."""
        weight, bias = self.weight, self.bias
        if not torch.is_autocast_enabled(input.device.type):
            weight = weight.to(input.dtype)
            bias = None if bias is None else bias.to(input.dtype)
        return ops.causal_conv1d(input, weight, bias)
