"""CUDA kernels, from ``cuda_ops/csrc/cuda``."""

from __future__ import annotations

import torch
from torch import Tensor

from ..extension import why_not
from .operator import OwnKernels

_LEAST_TAPS = 7
_MOST_TAPS = 63  # kMostTaps of cuda_ops/csrc/cuda


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
        for op in ('depthwise_conv2d', 'depthwise_conv2d_weight'):
            if why_not(op, 'cuda') is not None:
                return why_not(op, 'cuda')
        return super().unsupported(input, weight, bias)

    def slower(self, input, weight, bias) -> str | None:
        """Return the reason, see :class:`.Backend`."""
        reason = super().slower(input, weight, bias)
        if reason is None and max(weight.shape[2:]) < _LEAST_TAPS:
            return f'it is made for kernel sides from {_LEAST_TAPS} on'
        return reason

    def run(self, input, weight, bias) -> Tensor:
        """Convolve; the operator costs time, so without gradients it is left out."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return super().run(input, weight, bias)
        return self.conv(input, weight, bias, False)

    def conv(self, input, weight, bias, flip) -> Tensor:
        """Convolve contiguous maps."""
        weight = weight.flip(2, 3) if flip else weight.contiguous()
        bias = None if bias is None else bias.contiguous()
        return torch.ops.smpconv_mm_ext.depthwise_conv2d(
            input.contiguous(), weight, bias
        )

    def weight_gradient(self, input, grad, kh, kw) -> Tensor:
        """Return the gradient of the kernel."""
        return torch.ops.smpconv_mm_ext.depthwise_conv2d_weight(
            input.contiguous(), grad.contiguous(), kh, kw
        )
