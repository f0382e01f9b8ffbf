"""CUDA kernels, from ``cuda_ops/csrc/cuda``."""

from __future__ import annotations

import torch

from .operator import OwnKernels, why_not_built


class Cuda(OwnKernels):
    """Tensor cores for 16-bit maps, sums in registers for the others."""

    name = 'cuda'
    needs = 'a GPU, the compiled operations, no float64'

    def unsupported(self, input, weight, *options) -> str | None:
        """Return the reason, see :class:`.Backend`."""
        if input.device.type != 'cuda':
            return f'it runs on GPUs, the input is on {input.device}'
        if input.dtype == torch.float64:
            return 'it has no float64'
        return super().unsupported(input, weight, *options) or why_not_built('cuda')

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
