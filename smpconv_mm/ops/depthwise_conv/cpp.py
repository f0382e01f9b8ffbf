"""C++ kernels for the CPU, from ``cuda_ops/csrc/cpu``."""

from __future__ import annotations

import torch
from torch import Tensor

from ..extension import why_not
from .operator import OwnKernels

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Cpp(OwnKernels):
    """Sums for small kernels, Fourier transforms for large ones."""

    name = 'cpp'
    needs = 'the CPU, the compiled operations of cuda_ops/'

    def unsupported(self, input, weight, bias) -> str | None:
        """Return the reason, see :class:`.Backend`."""
        if input.device.type != 'cpu':
            return f'it runs on the CPU, the input is on {input.device}'
        if input.dtype not in _DTYPES:
            return f'it has no {input.dtype}'
        names = 'depthwise_conv2d', 'depthwise_conv2d_weight'
        return why_not(names, 'cpu') or super().unsupported(input, weight, bias)

    def conv(self, input, weight, bias, flip) -> Tensor:
        """Convolve maps of any strides."""
        return torch.ops.smpconv_mm_ext.depthwise_conv2d(input, weight, bias, flip)

    def weight_gradient(self, input, grad, kh, kw) -> Tensor:
        """Return the gradient of the kernel."""
        return torch.ops.smpconv_mm_ext.depthwise_conv2d_weight(input, grad, kh, kw)
