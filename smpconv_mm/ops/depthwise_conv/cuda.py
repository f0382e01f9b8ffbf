"""CUDA kernels, from ``cuda_ops/csrc/cuda``."""

from __future__ import annotations

from functools import lru_cache
from math import log

import torch
from torch import Tensor

from ..dispatch import operators_matter
from ..extension import why_not
from .cuda_table import TABLE
from .operator import OwnKernels

_LEAST_TAPS = 7
_MOST_TAPS = 63  # kMostTaps of cuda_ops/csrc/cuda


@lru_cache(maxsize=4096)
def torch_is_faster(
    dtype: torch.dtype,
    kernel: int,
    side: int,
    batch: int,
    channels_last: bool,
    training: bool,
) -> bool:
    """Whether torch's convolution won at the nearest of the measured sizes."""
    name = 'float32' if dtype == torch.float32 else 'bfloat16'
    sizes = TABLE.get(name)
    if not sizes:
        return False

    def distance(size):
        wanted = kernel, side, max(1, batch)
        return sum(log(a / b) ** 2 for a, b in zip(size, wanted))

    return sizes[min(sizes, key=distance)][2 * channels_last + training] == 't'


class Cuda(OwnKernels):
    """Tensor cores for 16-bit maps, sums in registers for the others."""

    name = 'cuda'
    needs = 'a GPU, the compiled operations, no float64, kernel sides up to 63'

    def unsupported(self, input, weight, bias) -> str | None:
        """Return the reason, see :class:`.Backend`."""
        if input.device.type != 'cuda':
            return f'it runs on GPUs, the input is on {input.device}'
        if input.dtype == torch.float64:
            return 'it has no float64'
        if max(weight.shape[2:]) > _MOST_TAPS:
            sides = tuple(weight.shape[2:])
            return f'kernel sides may be at most {_MOST_TAPS}, got {sides}'
        names = 'depthwise_conv2d', 'depthwise_conv2d_weight'
        return why_not(names, 'cuda') or super().unsupported(input, weight, bias)

    def slower(self, input, weight, bias) -> str | None:
        """Return the reason, see :class:`.Backend`."""
        reason = super().slower(input, weight, bias)
        if reason is not None:
            return reason
        if max(weight.shape[2:]) < _LEAST_TAPS:
            return f'it is made for kernel sides from {_LEAST_TAPS} on'
        channels_last = self.memory_format(input) == torch.channels_last
        training = torch.is_grad_enabled() and (
            input.requires_grad or weight.requires_grad
        )
        sides = max(weight.shape[2:]), max(input.shape[2:])
        if torch_is_faster(input.dtype, *sides, len(input), channels_last, training):
            return "torch's own was measured to be faster for such sizes"
        return None

    def run(self, input, weight, bias) -> Tensor:
        """Convolve; the operator costs time, so without gradients it is left out."""
        if operators_matter():
            return super().run(input, weight, bias)
        return self.conv(input, weight, bias, False)

    def memory_format(self, input):
        """Return channels-last for maps in it, see :class:`OwnKernels`."""
        if not input.is_contiguous():
            if input.is_contiguous(memory_format=torch.channels_last):
                return torch.channels_last
        return torch.contiguous_format

    def conv(self, input, weight, bias, flip) -> Tensor:
        """Convolve; maps in channels-last are turned by a fast kernel, and back."""
        bias = None if bias is None else bias.contiguous()
        return torch.ops.smpconv_mm_ext.depthwise_conv2d(
            self._dense(input), weight.contiguous(), bias, flip
        )

    def weight_gradient(self, input, grad, kh, kw) -> Tensor:
        """Return the gradient of the kernel."""
        return torch.ops.smpconv_mm_ext.depthwise_conv2d_weight(
            self._dense(input), self._dense(grad), kh, kw
        )

    def _dense(self, maps: Tensor) -> Tensor:
        return maps.contiguous(memory_format=self.memory_format(maps))
