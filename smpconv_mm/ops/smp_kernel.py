"""Kernels made of self-moving points (SMPConv, CVPR 2023, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import isfinite, prod

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from .checks import autocast_dtype
from .dispatch import (
    Backend,
    choose,
    exporting,
    register_operation,
    transforming,
)
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
        Tensor: Kernels of shape ``(G, I, *size)``. They are computed in float32
        at least; autocast does not touch them.

    Raises:
        ValueError: If a shape or ``size`` is wrong.
        TypeError: If a dtype is not floating point or dtypes differ.
    """
    size = tuple(size)
    _check(coord, radius, weight, size)
    args = coord, radius, weight, size, normalize
    chosen = choose('smp_kernel', backend, *args)
    if autocast_dtype(coord) is None:
        return chosen.run(*args)
    with torch.autocast(coord.device.type, enabled=False):
        return chosen.run(*args)


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


class Window(Backend):
    """Heights at the places around each point only, added up where they fall.

    Besides the kernel it holds arrays of (G, I, P, places a point touches).
    """

    name = 'window'
    needs = 'points that touch few places; known values: no tracing, no transforms'

    def unsupported(self, coord, radius, weight, size, normalize) -> str | None:
        """Return the reason, see :class:`.Backend`."""
        if not _can_read(radius):
            return (
                'its array sizes depend on the radii, whose values are not known here'
            )
        if coord.is_cuda and torch.cuda.is_current_stream_capturing():
            return 'it reads the largest radius, which a graph capture forbids'
        return None

    def slower(self, coord, radius, weight, size, normalize) -> str | None:
        """Return the reason, see :class:`.Backend`."""
        places = prod(size)
        if coord.is_cuda and places < _WINDOW_ON_GPU:
            return (
                'it makes the GPU wait for the largest radius, for '
                f'{places} places only'
            )
        touched = prod(_window(radius, size))
        slices = weight.shape[1]
        heights, products = _DENSE_COST
        dense = places * (heights + products * slices)
        heights, products = _WINDOW_COST
        if touched * (heights + products * slices) > dense:
            return (
                f'a point touches up to {touched} of {places} places: with '
                f'I = {slices} a dense product is faster'
            )
        return None

    def run(self, coord, radius, weight, size, normalize) -> Tensor:
        """Make the kernels."""
        return _by_window(coord, radius, weight, size, normalize)


class Dense(Backend):
    """Heights of all points at all places, then one matrix product."""

    name = 'dense'

    def run(self, coord, radius, weight, size, normalize) -> Tensor:
        """Make the kernels."""
        return _dense(coord, radius, weight, size, normalize)


def _example(shape, kernel_size, **options) -> tuple:
    points = max(1, kernel_size**2 // 4)
    return (
        torch.zeros(1, points, 2, **options),
        torch.full((1, points), 4 / kernel_size, **options),
        torch.ones(1, shape[1], points, **options),
        (kernel_size, kernel_size),
        False,
    )


register_operation('smp_kernel', [Window(), Dense()], _example)

# Time of a point's height at a place, and of its product with one of I weights, in
# units of a dense product. Fitted to CPUs with AVX2 and with AVX-512, so that 'window'
# is taken only where it is faster on both.
_DENSE_COST = 200, 1
_WINDOW_COST = 700, 90
_WINDOW_ON_GPU = 4096


def _by_window(
    coord: Tensor, radius: Tensor, weight: Tensor, size: tuple, normalize: bool
) -> Tensor:
    dtype = weight.dtype
    coord, radius, weight = _at_least_float32(coord, radius, weight)
    groups, points, dims = coord.shape
    window = _window(radius, size)
    distance = coord.new_zeros(())
    place = torch.zeros((), dtype=torch.long, device=coord.device)
    for axis, (n, width) in enumerate(zip(size, window)):
        centre = coord[..., dims - 1 - axis]
        grid = _axis(axis, size, coord)
        if dims >= 2 and axis == dims - 2:
            first = _first_place(-centre.detach(), radius.detach(), n, width)
        else:
            first = _first_place(centre.detach(), radius.detach(), n, width)
        index = first[..., None] + torch.arange(width, device=coord.device)
        offset = (centre[..., None] - grid[index]).abs()
        shape = [groups, points] + [1] * dims
        shape[2 + axis] = width
        distance = distance + offset.view(shape)
        place = place * n + index.view(shape)
    height = (1 - distance / radius.view(groups, points, *[1] * dims)).relu()
    height = height.reshape(groups, -1)
    place = place.expand(groups, points, *window).reshape(groups, -1)
    places = prod(size)
    if normalize:
        count = height.new_zeros(groups, places)
        count.scatter_add_(1, place, (height != 0).to(height.dtype))
        height = height / (count.gather(1, place) + 1e-6)
    slices = weight.shape[1]
    values = weight[..., None] * height.view(groups, 1, points, -1)
    kernel = weight.new_zeros(groups, slices, places).scatter_add_(
        2, place[:, None].expand(-1, slices, -1), values.flatten(2)
    )
    return kernel.view(groups, slices, *size).to(dtype)


def _window(radius: Tensor, size: tuple) -> list[int]:
    """Places per axis that the widest point may touch."""
    reach = float(radius.detach().max())
    if not isfinite(reach):
        return list(size)
    return [max(1, min(n, int(reach * (n - 1) + 2 * _SLACK) + 1)) for n in size]


def _first_place(centre: Tensor, radius: Tensor, n: int, width: int) -> Tensor:
    """Index of the first place of each point's window, along an axis that ascends."""
    first = (centre - radius + 1) * ((n - 1) / 2) - _SLACK
    return first.ceil().nan_to_num(0).clamp(0, n - width).long()


# Share of a grid step by which rounding may misplace the edge of a window
_SLACK = 0.01


def _axis(axis: int, size: tuple, like: Tensor) -> Tensor:
    """The coordinates of the places along an axis, in the order of its index."""
    grid = _grid(size[axis], like)
    # rows point up; -grid would be one ulp off where the grid is not symmetric
    return grid.flip(0) if len(size) >= 2 and axis == len(size) - 2 else grid


def _at_least_float32(*tensors: Tensor) -> tuple[Tensor, ...]:
    if tensors[0].dtype in (torch.float16, torch.bfloat16):
        return tuple(t.float() for t in tensors)
    return tensors


def _dense(
    coord: Tensor, radius: Tensor, weight: Tensor, size: tuple, normalize: bool
) -> Tensor:
    dtype = weight.dtype
    coord, radius, weight = _at_least_float32(coord, radius, weight)
    groups, points, dims = coord.shape
    distance = coord.new_zeros((groups, points) + (1,) * dims)
    for axis, n in enumerate(size):
        shape = [groups, points] + [1] * dims
        shape[2 + axis] = n
        offset = (coord[..., dims - 1 - axis, None] - _axis(axis, size, coord)).abs()
        distance = distance + offset.view(shape)
    height = (1 - distance.flatten(2) / radius[..., None]).relu()  # (G, P, places)
    if normalize:
        height = height / ((height != 0).sum(1, keepdim=True).to(height) + 1e-6)
    return (weight @ height).view(*weight.shape[:2], *size).to(dtype)


def _can_read(tensor: Tensor) -> bool:
    """Whether this is ordinary execution, in which a tensor has values.

    Values are unknown while ``torch.compile`` or an exporter traces, under a transform
    of ``torch.func``, and in meta and fake tensors.
    """
    if torch.compiler.is_compiling() or exporting() or transforming():
        return False
    return not tensor.is_meta and not isinstance(tensor.detach(), FakeTensor)


def _grid(n: int, like: Tensor) -> Tensor:
    if _can_read(like):
        return _cached_grid(n, like.dtype, like.device)
    return grid_axis(n).to(like.device, like.dtype)


@lru_cache(maxsize=256)
def _cached_grid(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Kept, so that a GPU does not wait for a copy at every forward; made
    # outside of inference mode, so that training may use it later.
    with torch.inference_mode(False):
        return grid_axis(n).to(device, dtype)
