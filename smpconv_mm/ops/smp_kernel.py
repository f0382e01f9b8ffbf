"""Kernels made of self-moving points (SMPConv, CVPR 2023, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from .dispatch import choose, register_backend
from .reference import grid_axis


def smp_kernel(
    coord: Tensor,
    radius: Tensor,
    weight: Tensor,
    size: Sequence[int],
    *,
    normalize: bool = False,
    backend: str = 'auto',
) -> Tensor:
    """Sample kernels made of points on the grid of a convolution kernel.

    A point at ``c`` with radius ``r`` is a hat: at a place ``x`` of [-1, 1]^d
    it has the height ``max(0, 1 - ||x - c||_1 / r)``. The kernel at ``x`` is
    the sum of the heights times the points' weights; with ``normalize`` that
    sum is divided by the number of points whose height at ``x`` is not zero
    (plus 1e-6). No gradient flows through that number.

    Orientation: component 0 of a coordinate runs along the last axis
    (columns), component 1 runs *up* the rows (row 0 lies at +1), component 2
    runs along the depth. Each axis has its ``n`` places at
    ``linspace(-1, 1, n)``; a single place lies at 0.

    Args:
        coord (Tensor): Shape (G, P, d), d = 1, 2 or 3; any real value.
        radius (Tensor): Shape (G, P), positive.
        weight (Tensor): Shape (G, I, P).
        size (Sequence[int]): Grid places per axis, d numbers: (L,), (H, W) or
            (D, H, W).
        normalize (bool): Divide by the number of active points. The published
            sequence and CIFAR models do, the ImageNet models do not. Defaults
            to False.
        backend (str): ``'auto'`` or a name of
            ``dispatch.backends('smp_kernel')``. Defaults to ``'auto'``.

    Returns:
        Tensor: Kernels of shape (G, I, *size). They are computed in float32
        at least; autocast does not touch them.

    Raises:
        ValueError: If a shape or ``size`` is wrong.
        TypeError: If a dtype is not floating point or dtypes differ.
    """
    size = tuple(size)
    _check(coord, radius, weight, size)
    chosen = choose('smp_kernel', backend, coord, radius, weight, size, normalize)
    with torch.autocast(coord.device.type, enabled=False):
        return chosen.fn(coord, radius, weight, size, normalize)


def _check(coord: Tensor, radius: Tensor, weight: Tensor, size: tuple) -> None:
    if coord.dim() != 3 or coord.shape[-1] not in (1, 2, 3):
        raise ValueError(
            'smp_kernel: coord must have shape (G, P, d) with d = 1, 2 or 3, got '
            f'{tuple(coord.shape)}'
        )
    groups, points, dims = coord.shape
    if radius.shape != (groups, points):
        raise ValueError(
            f'smp_kernel: radius must have shape ({groups}, {points}) like coord, '
            f'got {tuple(radius.shape)}'
        )
    if weight.dim() != 3 or (weight.shape[0], weight.shape[2]) != (groups, points):
        raise ValueError(
            f'smp_kernel: weight must have shape ({groups}, I, {points}), got '
            f'{tuple(weight.shape)}'
        )
    if len(size) != dims or any(n < 1 for n in size):
        raise ValueError(
            f'smp_kernel: size must be {dims} positive numbers, got {size}'
        )
    dtypes = {coord.dtype, radius.dtype, weight.dtype}
    if len(dtypes) > 1 or not coord.is_floating_point():
        raise TypeError(
            'smp_kernel: coord, radius and weight must share a floating dtype, got '
            f'{sorted(map(str, dtypes))}'
        )


@register_backend('smp_kernel', 'dense')
def _dense(
    coord: Tensor, radius: Tensor, weight: Tensor, size: tuple, normalize: bool
) -> Tensor:
    """Heights of all points at all places, then one matrix product."""
    dtype = weight.dtype
    if dtype in (torch.float16, torch.bfloat16):
        coord, radius, weight = coord.float(), radius.float(), weight.float()
    groups, points, dims = coord.shape
    distance = coord.new_zeros((groups, points) + (1,) * dims)
    for j in range(dims):
        axis = dims - 1 - j
        grid = _grid(size[axis], coord.dtype, coord.device)
        if j == 1:
            grid = grid.flip(0)
        shape = [1] * dims
        shape[axis] = size[axis]
        offset = (coord[..., j, None] - grid).abs()
        distance = distance + offset.view(groups, points, *shape)
    height = (1 - distance.flatten(2) / radius[..., None]).relu()  # (G, P, places)
    kernel = weight @ height
    if normalize:
        count = (height != 0).sum(1, keepdim=True)
        kernel = kernel / (count + 1e-6)
    return kernel.view(*weight.shape[:2], *size).to(dtype)


def _grid(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    if torch.compiler.is_compiling():
        return grid_axis(n).to(device, dtype)
    return _cached_grid(n, dtype, device)


@lru_cache(maxsize=256)
def _cached_grid(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Kept, so that a GPU does not wait for a copy at every forward; made
    # outside of inference mode, so that training may use it later.
    with torch.inference_mode(False):
        return grid_axis(n).to(device, dtype)
