"""CUDA kernels, from ``cuda_ops/csrc/cuda``."""

from __future__ import annotations

import torch

from ..dispatch import exporting
from ..extension import why_not
from .operator import OwnKernels

_OPERATORS = ('involution', 'involution_input', 'involution_weight')


class Cuda(OwnKernels):
    """Tensor cores for 16-bit maps, sums in registers for the others."""

    name = 'cuda'
    needs = 'a GPU, the compiled operations, no float64'

    def unsupported(self, input, weight, *options) -> str | None:
        """Return what prevents it from running, with the value, or None."""
        if input.device.type != 'cuda':
            return f'it runs on GPUs, the input is on {input.device}'
        if input.dtype == torch.float64:
            return 'it has no float64'
        return next(filter(None, (why_not(op, 'cuda') for op in _OPERATORS)), None)

    def slower(self, input, weight, *options) -> str | None:
        """Return why a later backend is faster, or None."""
        return 'an exporter knows plain operators only' if exporting() else None

    def output(self, input, weight, *options):
        """Compute the output, (N, C, P, Q)."""
        return torch.ops.smpconv_mm_ext.involution(
            input.contiguous(), weight.contiguous(), *options
        )

    def input_gradient(self, grad, weight, height, width, *options):
        """Compute the gradient of the input, (N, C, H, W)."""
        return torch.ops.smpconv_mm_ext.involution_input(
            grad.contiguous(), weight.contiguous(), height, width, *options
        )

    def weight_gradient(self, input, grad, groups, k, *options):
        """Compute the gradient of the weight, (N, G, K, K, P, Q)."""
        return torch.ops.smpconv_mm_ext.involution_weight(
            input.contiguous(), grad.contiguous(), groups, k, *options
        )
