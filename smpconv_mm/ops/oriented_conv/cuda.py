"""CUDA kernels, from ``cuda_ops/csrc/cuda``."""

from __future__ import annotations

import torch
from torch import Tensor

from ..dispatch import operators_matter
from .operator import OwnKernels

_MOST_TAPS = 63  # kMostLineTaps of cuda_ops/csrc/cuda


class Cuda(OwnKernels):
    """Sums in registers along the line, from maps in shared memory."""

    name = 'cuda'
    device = 'cuda'
    needs = f'a GPU, the compiled operations, no float64, up to {_MOST_TAPS} taps'

    def unsupported(self, input, weight, angle, bias, stride) -> str | None:
        """Return the reason, see :class:`.Backend`."""
        if input.device.type != 'cuda':
            return f'it runs on GPUs, the input is on {input.device}'
        if input.dtype == torch.float64:
            return 'it has no float64'
        if weight.shape[-1] > _MOST_TAPS:
            return f'there may be at most {_MOST_TAPS} taps, got {weight.shape[-1]}'
        return super().unsupported(input, weight, angle, bias, stride)

    def run(self, input, weight, angle, bias, stride) -> Tensor:
        """Convolve; the operator costs time, so without gradients it is left out."""
        if operators_matter():
            return super().run(input, weight, angle, bias, stride)
        return self.conv(input, weight, angle, bias, stride)

    def memory_format(self, maps) -> torch.memory_format:
        """Return that of the maps, if they are contiguous in one."""
        last = torch.channels_last
        if maps.is_contiguous() or not maps.is_contiguous(memory_format=last):
            return torch.contiguous_format
        return last

    def conv(self, input, weight, angle, bias, stride) -> Tensor:
        """Convolve maps, channels-last or not."""
        bias = None if bias is None else bias.contiguous()
        return torch.ops.smpconv_mm_ext.oriented_conv2d(
            self._arrange(input), weight.contiguous(), angle.contiguous(), bias, stride
        )

    def input_gradient(self, grad, weight, angle, stride, height, width) -> Tensor:
        """Return the gradient of the input."""
        return torch.ops.smpconv_mm_ext.oriented_conv2d_input(
            self._arrange(grad),
            weight.contiguous(),
            angle.contiguous(),
            stride,
            height,
            width,
        )

    def weight_gradient(self, input, grad, angle, taps, stride) -> Tensor:
        """Return the gradient of the weight."""
        return torch.ops.smpconv_mm_ext.oriented_conv2d_weight(
            self._arrange(input),
            self._arrange(grad),
            angle.contiguous(),
            taps,
            stride,
        )

    def _arrange(self, maps: Tensor) -> Tensor:
        return maps.contiguous(memory_format=self.memory_format(maps))
