"""Windows written out (im2col): plain operators only, which exporters know."""

from __future__ import annotations

import torch.nn.functional as F

from ..dispatch import Backend
from .maps import Windows, by_groups, from_groups, sum_dtype


class Unfold(Backend):
    """Plain torch, differentiated by autograd; holds K * K copies of the input."""

    name = 'unfold'

    def run(self, input, weight, *options):
        """Compute the output, (N, C, P, Q)."""
        stride, padding, dilation, interleaved, clamp = options
        n, groups, k, _, *places = weight.shape
        groups, k = int(groups), int(k)  # a tracer's sizes are tensors
        dtype = input.dtype
        input, weight = (t.to(sum_dtype(dtype)) for t in (input, weight))
        if clamp:
            windows = Windows(
                input.shape[-2:], places, k, stride, padding, dilation, clamp
            )
            rows, columns = (windows.places(axis, input.device) for axis in (0, 1))
            # (N, C, P, Q, K, K)
            maps = input[:, :, rows[:, None, :, None], columns[:, None, :]]
            maps = maps.flatten(4).movedim(4, 2)
        elif n == 0:  # F.unfold refuses it
            maps = input.new_zeros(0, input.shape[1], k * k, *places) + input.sum()
        else:
            maps = F.unfold(input, k, dilation, padding, stride)
            maps = maps.view(n, -1, k * k, *places)
        maps = by_groups(maps, groups, interleaved)
        out = (maps * weight.flatten(2, 3).unsqueeze(2)).sum(3)
        return from_groups(out, interleaved).to(dtype)
