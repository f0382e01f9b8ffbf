"""Drop points that do nothing, or little.

Positions are free (SMPConv, CVPR 2023, section 3), so that some points leave the
kernel while training.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from smpconv_mm import ops

from .smp_kernel import SMPKernel

_EPS = 1e-6  # of the average in ops.smp_kernel


@torch.no_grad()
def point_effects(kernel: SMPKernel) -> Tensor:
    """How much each point does to the kernel.

    Without averaging (``normalize=False``) it is the norm of the point's own
    part of the kernel. With averaging the place of a point also counts: the
    average over the other points changes when it leaves. The norms of both
    changes, taken at each place without letting them cancel, are added up.

    In both cases the kernel without the point differs from that with it by at
    most the effect, and an effect of 0 means that the point, alone or together
    with all others of effect 0, can be dropped and leaves the kernel as it is.

    Args:
        kernel (SMPKernel): Sampled at its present ``kernel_size``; a point
            between the places of this grid may be seen by a finer one.

    Returns:
        Tensor: Float64 of shape (G, P), at least 0, relative to the norm
        (Frobenius) of the whole kernel of each set of points; 0 throughout
        where that kernel is 0.
    """
    height = _heights(kernel).double()
    weight = kernel.weight.double()
    active = height != 0
    count = active.sum(1, keepdim=True)
    total = weight @ height
    whole = total / (count + _EPS) if kernel.normalize else total
    norm = whole.flatten(1).norm(dim=1)
    effects = height.new_empty(height.shape[:2])
    for p in range(kernel.n_points):
        own = weight[..., p, None] * height[:, None, p]  # (G, I, places)
        change = own.abs()
        if kernel.normalize:
            shift = (total - own).abs() / (count - 1 + _EPS)
            shift = shift.masked_fill(~active[:, None, p] | (count == 1), 0)
            change = (change + shift) / (count + _EPS)
        effects[:, p] = change.flatten(1).norm(dim=1)
    return torch.where(norm[:, None] > 0, effects / norm[:, None], 0)


@torch.no_grad()
def points_outside(kernel: SMPKernel) -> Tensor:
    """Which points have left the kernel: bool of shape (G, P).

    Their hat touches no place of the kernel's grid. Such a point gets no
    gradient and does not come back.
    """
    return (_heights(kernel) == 0).all(2)


@dataclass
class PrunedLayer:
    """What pruning did to one kernel.

    Attributes:
        name (str): Of the kernel in the model.
        before (int): Points per set.
        after (int): Points per set that were kept.
        outside (float): Share of all points, before, whose hat touched no place
            of the kernel.
        change (float): Norm of the change of the kernel over the norm of the
            kernel (Frobenius).
    """

    name: str
    before: int
    after: int
    outside: float
    change: float


@torch.no_grad()
def prune_points(model: nn.Module, threshold: float = 0.0) -> list[PrunedLayer]:
    """Drop as many points of every SMP kernel as a change of it allows, in place.

    Points go in the order of their effect (:func:`point_effects`), the smallest
    first. All sets of a kernel keep equally many points, at least one.

    Args:
        model (nn.Module): Any network in training form.
        threshold (float): Largest change of a kernel, as in
            :class:`PrunedLayer`; 0.1 lets each kernel change by a tenth of its
            norm. Defaults to 0, which drops only points without any effect and
            changes no output.

    Returns:
        list[PrunedLayer]: One entry a kernel, in order.

    Raises:
        ValueError: If ``threshold`` is negative, or the model has no SMP
            kernel.
    """
    if not threshold >= 0:
        raise ValueError(f'threshold must be at least 0, got {threshold}')
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, SMPKernel)]
    if not layers:
        raise ValueError(
            f'{type(model).__name__} has no SMP kernels to prune; a deploy form has '
            'none, give the training form'
        )
    return [_prune(name, kernel, threshold) for name, kernel in layers]


def _prune(name: str, kernel: SMPKernel, threshold: float) -> PrunedLayer:
    before, whole = kernel.n_points, kernel.make_kernel().double()
    outside = float(points_outside(kernel).double().mean())
    effects = point_effects(kernel)
    order = effects.argsort(dim=1, descending=True, stable=True)

    def pruned(keep: int) -> SMPKernel:
        other = copy.deepcopy(kernel)
        other.keep_points(order[:, :keep].sort(dim=1).values)
        return other

    def change(other: SMPKernel) -> float:
        change = (other.make_kernel() - whole).norm() / whole.norm()
        return float(change.nan_to_num(0))

    # those with an effect are kept without a threshold; of them, by bisection, the
    # fewest that were seen to change the kernel by no more than it
    keep = max(1, int((effects > 0).sum(1).max()))
    too_few = 0
    while threshold > 0 and keep - too_few > 1:
        middle = (keep + too_few) // 2
        if change(pruned(middle)) <= threshold:
            keep = middle
        else:
            too_few = middle
    if keep < before:
        kernel.keep_points(order[:, :keep].sort(dim=1).values)
    return PrunedLayer(name, before, keep, outside, change(kernel))


def _heights(kernel: SMPKernel) -> Tensor:
    """Heights of all hats at all places of the grid, (G, P, places)."""
    coord, points = kernel.coord, kernel.n_points
    # The operator itself says which places a point touches: with an identity
    # for the weights it returns the heights.
    identity = torch.eye(points, dtype=coord.dtype, device=coord.device)
    identity = identity.expand(len(coord), -1, -1)
    radius, size = kernel.positive_radius, kernel.kernel_size
    heights = ops.smp_kernel(coord, radius, identity, size)
    return heights.flatten(2)
