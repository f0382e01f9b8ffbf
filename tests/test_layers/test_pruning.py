import copy

import pytest
import torch
from tolerances import assert_close
from torch import nn

from smpconv_mm.layers import (
    SMPConv1d,
    SMPConv2d,
    SMPKernel,
    point_effects,
    points_outside,
    prune_points,
)

VARIANTS = pytest.mark.parametrize('normalize', [False, True])


def make(ndim, normalize, shared=False, points=6):
    torch.manual_seed(0)
    kernel = SMPKernel(
        2,
        3,
        9,
        ndim,
        n_points=points,
        shared_points=shared,
        normalize=normalize,
        radius=0.4,
        coord_std=0.5,
    )
    return kernel.double()


@torch.no_grad()
def without(kernel, point):
    """The kernel without a point, by the slow way: build a smaller one."""
    other = copy.deepcopy(kernel)
    keep = [p for p in range(kernel.n_points) if p != point]
    for name, axis in [('coord', 1), ('radius', 1), ('weight', 2)]:
        value = getattr(other, name).index_select(axis, torch.tensor(keep))
        setattr(other, name, nn.Parameter(value))
    return other.make_kernel()


@torch.no_grad()
def per_set(kernel, change):
    return change.view(len(kernel.coord), -1).norm(dim=1)


@VARIANTS
@pytest.mark.parametrize('ndim', [1, 2, 3])
@pytest.mark.parametrize('shared', [False, True])
def test_effect_bounds_what_leaving_out_does(ndim, normalize, shared):
    kernel = make(ndim, normalize, shared)
    effects = point_effects(kernel)
    assert effects.shape == kernel.radius.shape and effects.dtype == torch.float64
    full = kernel.make_kernel()
    for p in range(kernel.n_points):
        change = per_set(kernel, full - without(kernel, p)) / per_set(kernel, full)
        assert (change <= effects[:, p] * (1 + 1e-9)).all()
        if not normalize:  # nothing to cancel
            assert_close(effects[:, p], change, 1e-9)


@VARIANTS
@pytest.mark.parametrize('ndim', [1, 2, 3])
@pytest.mark.parametrize('shared', [False, True])
@torch.no_grad()
def test_exact(ndim, normalize, shared):
    kernel = make(ndim, normalize, shared)
    kernel.coord[:, 1] = 3.0  # far away
    kernel.radius[:, 4] = 1e-4  # between the places
    kernel.coord[:, 4] = 0.1
    kernel.coord[0, 2] = -7.0  # this one in the first set only
    before = kernel.make_kernel()
    assert points_outside(kernel)[:, [1, 4]].all()
    (layer,) = prune_points(kernel)
    assert (layer.before, layer.after) == (6, 3 if shared else 4)
    assert layer.after == kernel.n_points
    assert_close(kernel.make_kernel(), before, 1e-15)


@VARIANTS
@torch.no_grad()
def test_point_without_weight_counts_in_the_average(normalize):
    kernel = make(2, normalize)
    kernel.radius.fill_(1.0)
    kernel.weight[..., 3] = 0
    before = kernel.make_kernel()
    (layer,) = prune_points(kernel)
    assert layer.after == (6 if normalize else 5)
    assert_close(kernel.make_kernel(), before, 1e-15)


@torch.no_grad()
def test_lonely_points_without_weight_go_also_from_the_average():
    kernel = SMPKernel(1, 1, 9, 1, n_points=3, radius=0.1).double()
    kernel.coord[0, :, 0] = torch.tensor([-0.5, -0.51, 0.5])
    kernel.weight[0, 0] = torch.tensor([0.0, 0.0, 1.0])
    before = kernel.make_kernel()
    assert prune_points(kernel)[0].after == 1
    assert torch.equal(kernel.make_kernel(), before)


@torch.no_grad()
@pytest.mark.parametrize('threshold, left', [(0, 2), (1e-5, 1), (0.1, 1)])
def test_one_of_two_equal_points(threshold, left):
    """Either has an effect; without one of them the average stays what it is."""
    kernel = SMPKernel(1, 1, 9, 1, n_points=2, radius=0.3).double()
    kernel.coord[:] = 0.5
    kernel.weight[:] = 1
    (layer,) = prune_points(kernel, threshold)
    assert kernel.n_points == left and layer.change < 1e-6


@VARIANTS
@pytest.mark.parametrize('points', [3, 20, 60])
def test_threshold_bounds_the_change(normalize, points):
    """However many points have a small effect each."""
    full = make(1, normalize, points=points).make_kernel().detach()
    left = []
    for threshold in (0, 0.05, 0.2, 0.5, 1e9):
        kernel = make(1, normalize, points=points)
        (layer,) = prune_points(kernel, threshold)
        left.append(kernel.n_points)
        change = float((kernel.make_kernel().detach() - full).norm() / full.norm())
        assert layer.change == pytest.approx(change, abs=1e-15)
        assert change <= max(threshold, 1e-15)
    assert left == sorted(left, reverse=True) and left[-1] == 1
    assert points == 3 or left[0] > left[2] > left[3] > 1


@torch.no_grad()
def test_sets_that_need_fewer_points_keep_their_best():
    kernel = make(1, False)
    kernel.weight[0, :, :4] = 0  # two points left in the first set
    kernel.weight[1, :, 5] = 0
    prune_points(kernel, 0.0)
    assert kernel.n_points == 6  # the third set needs all
    kernel.weight[2, :, 1:4] = 0
    prune_points(kernel, 0.0)
    assert kernel.n_points == 5
    assert ((kernel.weight != 0).any(1).sum(1) == torch.tensor([2, 5, 3])).all()


def test_network():
    torch.manual_seed(0)
    net = nn.Sequential(
        SMPConv1d(3, 4, 15, causal=True, n_points=8), SMPConv1d(4, 4, 15, padding=7)
    ).double()
    with torch.no_grad():
        net[0].kernel.coord[:, :3] = 5.0
    x = torch.randn(2, 3, 30, dtype=torch.float64)
    before = net.eval()(x).detach()
    first, second = prune_points(net)
    assert (first.name, first.before, first.after) == ('0.kernel', 8, 5)
    assert first.outside >= 3 / 8 and second.name == '1.kernel'
    assert_close(net(x), before, 1e-14)
    # an optimiser from before still moves the points
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    prune_points(net, 0.9)
    assert net[0].kernel.n_points < 5
    coord = net[0].kernel.coord.detach().clone()
    net(x).square().sum().backward()
    optimizer.step()
    assert not torch.equal(net[0].kernel.coord, coord)


def test_refuses():
    with pytest.raises(ValueError, match='Conv2d has no SMP kernels to prune'):
        prune_points(nn.Conv2d(1, 1, 3))
    with pytest.raises(ValueError, match='at least 0, got -1'):
        prune_points(SMPKernel(1, 1, 3), -1)
    with pytest.raises(ValueError, match='give the training form'):
        prune_points(SMPConv2d(2, 2, 3, deploy=True))
