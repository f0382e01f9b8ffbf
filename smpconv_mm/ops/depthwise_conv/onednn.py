"""oneDNN's convolution, with gradients made from it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dispatch import exporting
from ..widening import HAS_ONEDNN
from .conv2d import conv2d
from .operator import OwnKernels

# With wider padding oneDNN leaves its fast kernel (30 times slower, measured);
# the rest of the padding is written out.
_MOST_PADDING = 6


class OneDNN(OwnKernels):
    """``F.conv2d`` in the memory layout in which oneDNN is fast."""

    name = 'onednn'
    needs = 'the CPU, oneDNN, no float64'

    def unsupported(self, input, weight, bias) -> str | None:
        """Return the reason, see :class:`.Backend`."""
        if input.device.type != 'cpu':
            return f'it runs on the CPU, the input is on {input.device}'
        if not HAS_ONEDNN:
            return 'this build of torch has no oneDNN'
        if input.dtype == torch.float64:
            return 'oneDNN has no float64 convolution'
        return super().unsupported(input, weight, bias)

    def slower(self, input, weight, bias) -> str | None:
        """Return None: without gradients it is a plain convolution."""
        return None

    def run(self, input, weight, bias) -> Tensor:
        """Convolve; by torch's operator, which exporters know, where that is enough."""
        if torch.is_grad_enabled() and not exporting():
            if input.requires_grad or weight.requires_grad:
                return super().run(input, weight, bias)
        return self.conv(input, weight, bias, False)

    def conv(self, input, weight, bias, flip) -> Tensor:
        """Convolve in channels-last layout.

        oneDNN's fast depthwise kernel knows no other; it is 80 times faster than
        that for contiguous maps at 56x56 with a 31x31 kernel.
        """
        weight = weight.flip(2, 3) if flip else weight
        input = input.contiguous(memory_format=torch.channels_last)
        out = conv2d(input, weight, bias)
        return out.contiguous(memory_format=torch.channels_last)

    def weight_gradient(self, input, grad, kh, kw) -> Tensor:
        """Compute the gradient of the kernel as a depthwise convolution of its own.

        Every (image, channel) becomes a channel: its map is the channel's input
        and its kernel the output's gradient. The result is the kernel's gradient
        for one image. oneDNN's fast kernel computes it, 4 to 25 times faster than
        its own weight gradient.
        """
        n, channels, height, width = input.shape
        if n == 0:
            return input.new_zeros(channels, 1, kh, kw)
        # (H, W, N * C): channels-last with the images among the channels
        maps = input.permute(2, 3, 0, 1).reshape(height, width, -1).float()
        kernels = grad.permute(2, 3, 0, 1).reshape(height, width, -1).float()
        rows, columns = (min(k // 2, _MOST_PADDING) for k in (kh, kw))
        extra = (kh // 2 - rows, kw // 2 - columns)
        if any(extra):
            maps = F.pad(maps, (0, 0, extra[1], extra[1], extra[0], extra[0]))
        out = F.conv2d(
            maps.permute(2, 0, 1)[None],
            kernels.permute(2, 0, 1)[:, None],
            padding=(rows, columns),
            groups=n * channels,
        )
        return out.view(n, channels, kh, kw).sum(0)[:, None].to(input.dtype)
