"""C++ kernels for the CPU, from ``cuda_ops/csrc/cpu``."""

from __future__ import annotations

import torch
from torch import Tensor

from .operator import OwnKernels

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Cpp(OwnKernels):
    """Sums over the taps, for as many channels of a direction as a vector has lanes."""

    name = 'cpp'
    device = 'cpu'
    needs = 'the CPU, the compiled operations of cuda_ops/'

    def unsupported(self, input, weight, angle, bias, stride) -> str | None:
        """Return the reason, see :class:`.Backend`."""
        if input.device.type not in ('cpu', 'meta'):  # meta: shapes alone
            return f'it runs on the CPU, the input is on {input.device}'
        if input.dtype not in _DTYPES:
            return f'it has no {input.dtype}'
        return super().unsupported(input, weight, angle, bias, stride)

    def memory_format(self, maps) -> torch.memory_format:
        """Return that of all results."""
        return torch.channels_last

    def conv(self, input, weight, angle, bias, stride) -> Tensor:
        """Convolve maps of any strides."""
        return torch.ops.smpconv_mm_ext.oriented_conv2d(
            input, weight, angle.contiguous(), bias, stride
        )

    def input_gradient(self, grad, weight, angle, stride, height, width) -> Tensor:
        """Return the gradient of the input."""
        return torch.ops.smpconv_mm_ext.oriented_conv2d_input(
            grad, weight, angle.contiguous(), stride, height, width
        )

    def weight_gradient(self, input, grad, angle, taps, stride) -> Tensor:
        """Return the gradient of the weight."""
        return torch.ops.smpconv_mm_ext.oriented_conv2d_weight(
            input, grad, angle.contiguous(), taps, stride
        )
