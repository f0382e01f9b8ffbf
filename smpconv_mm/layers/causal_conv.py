"""Ordinary convolution that sees the past only."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smpconv_mm import ops
from smpconv_mm.ops.checks import autocast_dtype
from smpconv_mm.registry import MODELS

from .resampling import resampled_taps


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
        device (torch.device | str, optional): Defaults to None.
        dtype (torch.dtype, optional): Of the parameters. Defaults to None.
        **kwargs: For builders that pass all arguments of a convolution:
            ``stride``, ``padding``, ``dilation``, ``groups`` and
            ``padding_mode``, which must have their defaults.

    Attributes:
        sampling_rate (float): Rate of the inputs over that for which ``weight``
            is meant. At another rate than 1 a tap lies between samples and acts
            on their linear interpolation. Defaults to 1.

    Input: (N, in_channels, L) or (in_channels, L). Output: the same with
    out_channels.

    Raises:
        ValueError: If one of ``kwargs`` has another value than its default.
    """

    sampling_rate = 1.0

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **kwargs,
    ) -> None:
        defaults = dict(stride=1, padding=0, dilation=1, groups=1, padding_mode='zeros')
        for name, value in kwargs.items():
            if name not in defaults or value not in (
                defaults[name],
                (defaults[name],),
            ):
                raise ValueError(
                    f'CausalConv1d has no {name}={value!r}; it is dense, has stride '
                    'and dilation 1 and pads by itself'
                )
        factory = dict(device=device, dtype=dtype)
        super().__init__(in_channels, out_channels, kernel_size, bias=bias, **factory)

    def make_kernel(self) -> Tensor:
        """The weight at the sampling rate, (out_channels, in_channels, taps)."""
        if self.sampling_rate == 1:
            return self.weight
        lag = torch.arange(self.weight.shape[-1] - 1, -1, -1, device=self.weight.device)
        lag = lag * self.sampling_rate
        below = lag.floor()
        share = (lag - below).to(self.weight.dtype)
        taps = resampled_taps(self.weight.shape[-1], self.sampling_rate)
        below = below.long()
        out = self.weight.new_zeros(*self.weight.shape[:2], taps + 1)
        out = out.index_add(2, below, self.weight * (1 - share))
        out = out.index_add(2, below + 1, self.weight * share)
        return out[..., :taps].flip(-1)

    def resample(self, rate: float) -> None:
        """Set the sampling rate; see :func:`smpconv_mm.layers.resample`."""
        self.sampling_rate = rate

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Replace the weight by that of the sampling rate."""
        self.weight = nn.Parameter(self.make_kernel())
        self.sampling_rate = 1.0

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``input``."""
        if input.dim() == 2:
            return self.forward(input.unsqueeze(0)).squeeze(0)
        weight, bias = self.make_kernel(), self.bias
        if autocast_dtype(input) is None:
            weight = weight.to(input.dtype)
            bias = None if bias is None else bias.to(input.dtype)
        return ops.causal_conv1d(input, weight, bias)
