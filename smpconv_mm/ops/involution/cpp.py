"""C++ kernels for the CPU, from ``cuda_ops/csrc/cpu``."""

from __future__ import annotations

import torch

from .operator import OwnKernels, why_not_built

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Cpp(OwnKernels):
    """Sums over rows of outputs, of maps and weights of any strides."""

    name = 'cpp'
    needs = 'the CPU, the compiled operations of cuda_ops/'

    def unsupported(self, input, weight, *options) -> str | None:
        """Return the reason, see :class:`.Backend`."""
        if input.device.type != 'cpu':
            return f'it runs on the CPU, the input is on {input.device}'
        if input.dtype not in _DTYPES:
            return f'it has no {input.dtype}'
        return super().unsupported(input, weight, *options) or why_not_built('cpu')

    def output(self, input, weight, *options):
        """Compute the output, (N, C, P, Q)."""
        return torch.ops.smpconv_mm_ext.involution(input, weight, *options)

    def input_gradient(self, grad, weight, height, width, *options):
        """Compute the gradient of the input, (N, C, H, W)."""
        return torch.ops.smpconv_mm_ext.involution_input(
            grad, weight, height, width, *options
        )

    def weight_gradient(self, input, grad, groups, k, *options):
        """Compute the gradient of the weight, (N, G, K, K, P, Q)."""
        return torch.ops.smpconv_mm_ext.involution_weight(
            input, grad, groups, k, *options
        )
