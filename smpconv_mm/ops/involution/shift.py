"""Shifted maps times the numbers of their tap, added up: little memory."""

from __future__ import annotations

import torch

from .maps import Windows, by_groups, from_groups, sum_dtype
from .operator import OwnKernels


class Shift(OwnKernels):
    """Plain torch; besides its arguments and results it holds a few maps."""

    name = 'shift'

    def output(self, input, weight, *options):
        """Compute the output, (N, C, P, Q)."""
        *steps, interleaved, clamp = options
        n, groups, k, _, *places = weight.shape
        windows = Windows(input.shape[-2:], places, k, *steps, clamp)
        maps = by_groups(input, groups, interleaved)
        dtype = sum_dtype(input.dtype)
        out = input.new_zeros(*maps.shape[:3], *places, dtype=dtype)
        for shifted, numbers in zip(windows.shifts(maps), _taps(weight)):
            out.addcmul_(shifted.to(dtype), numbers.to(dtype))
        return from_groups(out, interleaved).to(input.dtype).contiguous()

    def input_gradient(self, grad, weight, height, width, *options):
        """Compute the gradient of the input, (N, C, H, W)."""
        *steps, interleaved, clamp = options
        n, groups, k, _, *places = weight.shape
        windows = Windows((height, width), places, k, *steps, clamp)
        slopes = by_groups(grad, groups, interleaved).to(sum_dtype(grad.dtype))
        shares = (slopes * numbers for numbers in _taps(weight))
        total = from_groups(windows.add_back(shares, slopes), interleaved)
        # a copy in any case: even an empty view would keep its offset
        return total.to(grad.dtype).clone(memory_format=torch.contiguous_format)

    def weight_gradient(self, input, grad, groups, k, *options):
        """Compute the gradient of the weight, (N, G, K, K, P, Q)."""
        *steps, interleaved, clamp = options
        places = grad.shape[-2:]
        windows = Windows(input.shape[-2:], places, k, *steps, clamp)
        maps = by_groups(input, groups, interleaved)
        slopes = by_groups(grad, groups, interleaved).to(sum_dtype(grad.dtype))
        out = input.new_empty(len(input), groups, k * k, *places)
        for tap, shifted in enumerate(windows.shifts(maps)):
            out[:, :, tap] = (slopes * shifted).sum(2)
        return out.unflatten(2, (k, k))


def _taps(weight):
    """Return the numbers of each tap, (N, G, 1, P, Q)."""
    return weight.flatten(2, 3).unsqueeze(3).unbind(2)
