"""What the backends in plain torch share: groups of channels, shifted maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..reference import window_starts


def by_groups(maps: Tensor, groups: int, interleaved: bool) -> Tensor:
    """View channels as groups, (N, C, ...) to (N, G, C / G, ...)."""
    if interleaved:
        return maps.unflatten(1, (-1, groups)).transpose(1, 2)
    return maps.unflatten(1, (groups, -1))


def from_groups(maps: Tensor, interleaved: bool) -> Tensor:
    """Return to channels, (N, G, C / G, ...) to (N, C, ...)."""
    if interleaved:
        maps = maps.transpose(1, 2)
    return maps.flatten(1, 2)


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of sums."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


class Windows:
    """Where outputs read.

    Args:
        size (tuple[int, int]): Sides of the input.
        outputs (tuple[int, int]): Sides of the output.
        k (int): Side of the kernel.
        stride, padding, dilation (int): As in ``ops.involution``.
        clamp (bool): Whether windows are moved inside of the map.
    """

    def __init__(self, size, outputs, k, stride, padding, dilation, clamp) -> None:
        self.size, self.outputs, self.k = tuple(size), tuple(outputs), k
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.clamp = clamp

    def places(self, axis: int, device: torch.device) -> Tensor:
        """Return the places that each output reads along an axis, (outputs, K)."""
        first = window_starts(
            self.outputs[axis],
            self.size[axis],
            self.k,
            self.stride,
            self.padding,
            self.dilation,
            'clamp' if self.clamp else 'zeros',
        )
        taps = torch.arange(self.k) * self.dilation
        return (first[:, None] + taps).to(device)

    def _slice(self, axis: int, tap: int) -> slice:
        first = tap * self.dilation
        return slice(
            first, first + self.stride * (self.outputs[axis] - 1) + 1, self.stride
        )

    def shifts(self, maps: Tensor):
        """Yield, tap by tap, the places that each output reads: (..., P, Q)."""
        if self.clamp:
            rows, columns = (self.places(axis, maps.device) for axis in (0, 1))
            for u in range(self.k):
                lines = maps.index_select(-2, rows[:, u])
                for v in range(self.k):
                    yield lines.index_select(-1, columns[:, v])
            return
        padded = F.pad(maps, (self.padding,) * 4)
        for u in range(self.k):
            for v in range(self.k):
                yield padded[..., self._slice(0, u), self._slice(1, v)]

    def add_back(self, taps, like: Tensor) -> Tensor:
        """Add up, tap by tap, numbers of (..., P, Q) at the places that they read."""
        if self.clamp:
            rows, columns = (self.places(axis, like.device) for axis in (0, 1))
            total = like.new_zeros(*like.shape[:-2], *self.size)
            for u in range(self.k):
                lines = like.new_zeros(*like.shape[:-2], self.outputs[0], self.size[1])
                for v in range(self.k):
                    lines.index_add_(-1, columns[:, v], next(taps))
                total.index_add_(-2, rows[:, u], lines)
            return total
        sides = [size + 2 * self.padding for size in self.size]
        total = like.new_zeros(*like.shape[:-2], *sides)
        for u in range(self.k):
            for v in range(self.k):
                total[..., self._slice(0, u), self._slice(1, v)] += next(taps)
        rows, columns = (slice(self.padding, self.padding + size) for size in self.size)
        return total[..., rows, columns]
