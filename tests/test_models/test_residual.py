"""Blocks that other families build from: all settings are named."""

import pytest
import torch
import torch.nn.functional as F
from kernels import GaussianKernel, NetKernel
from tolerances import assert_close
from torch import nn

from smpconv_mm.layers import CausalConv1d, KernelConv1d, SMPConv2d, switch_to_deploy
from smpconv_mm.models.backbones.large_kernel import LargeKernelConv, smp_kernel_cfg
from smpconv_mm.models.backbones.residual import ResidualBackbone, ResidualBlock


def away_from_start(module):
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2)
    return module.double().eval()


def inputs(ndim):
    torch.manual_seed(1)
    return torch.randn(2, 3, *(14, 11)[:ndim], dtype=torch.float64)


@pytest.mark.parametrize('kernel', [GaussianKernel, NetKernel, 'DenseKernel'])
@pytest.mark.parametrize('ndim, causal', [(1, False), (1, True), (2, False)])
@pytest.mark.parametrize('small', [None, 5])
@pytest.mark.parametrize('bias', [False, True])
def test_large_kernel_conv(kernel, ndim, causal, small, bias):
    """Also where the made kernel is smaller than the parallel one."""
    torch.manual_seed(0)
    norm = dict(type='BN1d' if ndim == 1 else 'BN')
    args = dict(
        kernel_size=9,
        small_kernel_size=small,
        ndim=ndim,
        causal=causal,
        norm_cfg=norm,
        bias=bias,
        small_bias=bias,
        kernel_cfg=dict(type=kernel),
    )
    block = away_from_start(LargeKernelConv(3, 4, **args))
    assert (block.small_conv is None) == (small is None)
    x = inputs(ndim)
    large, tail = block.smp, block.smp.conv
    expected = large.norm(tail(x))
    if small:
        weight = block.small_conv.conv.weight
        padded = F.pad(x, (4, 0)) if causal else F.pad(x, (2, 2) * ndim)
        conv = F.conv1d if ndim == 1 else F.conv2d
        expected = expected + block.small_conv.norm(
            conv(padded, weight, block.small_conv.conv.bias)
        )
        assert isinstance(block.small_conv.conv, CausalConv1d) == causal
    assert_close(block(x), expected, 1e-12)
    assert block(x).shape == (2, 4, *x.shape[2:])
    switch_to_deploy(block)
    assert_close(block(x), expected, 1e-10)
    fresh = LargeKernelConv(3, 4, **args, deploy=True).double()
    fresh.load_state_dict(block.state_dict())
    assert torch.equal(fresh(x), block(x))


def test_layer_of_the_family_is_taken():
    assert type(LargeKernelConv(4, 4, 5).smp.conv) is SMPConv2d
    cfg = dict(type='smpconv_mm.SMPKernel')
    assert type(LargeKernelConv(4, 4, 5, kernel_cfg=cfg).smp.conv) is SMPConv2d
    dense = LargeKernelConv(4, 4, 5, ndim=1, kernel_cfg=dict(type='DenseKernel'))
    assert type(dense.smp.conv) is KernelConv1d


def test_arguments_of_points_are_for_points():
    points = dict(n_points=4, radius=0.5)
    assert smp_kernel_cfg(None, **points) == dict(points, type='SMPKernel')
    assert smp_kernel_cfg(dict(n_points=7), **points)['n_points'] == 7
    dense = dict(type='DenseKernel')
    assert smp_kernel_cfg(dense, **points) == dense


@pytest.mark.parametrize('ndim', [1, 2])
@pytest.mark.parametrize('act_before_sum', [False, True])
def test_block(ndim, act_before_sum):
    torch.manual_seed(0)
    block = away_from_start(
        ResidualBlock(
            3,
            6,
            ndim=ndim,
            act_before_sum=act_before_sum,
            kernel_size=7,
            norm_cfg=dict(type='GN', num_groups=1),
            act_cfg=dict(type='LeakyReLU', negative_slope=0.01),
            kernel_cfg=dict(type='DenseKernel'),
        )
    )
    x = inputs(ndim)
    out = block.conv2(F.leaky_relu(block.conv1(x)))
    out = F.leaky_relu(out) if act_before_sum else out
    assert_close(block(x), F.leaky_relu(out + block.shortcut(x)), 1e-12)
    assert isinstance(block.conv1.smp.norm, nn.GroupNorm)


@pytest.mark.parametrize('ndim, causal', [(1, False), (1, True), (2, False)])
def test_backbone_without_small_kernels(ndim, causal):
    """As networks of generated kernels are: stem, blocks, nothing in parallel."""
    net = ResidualBackbone(
        3,
        9,
        [4, 6],
        4,
        ndim=ndim,
        causal=causal,
        kernel_cfg=dict(type=NetKernel),
        dropout=0.1,
        out_indices=(0, 1),
    )
    net = away_from_start(net)
    x = inputs(ndim)
    outs = [out.detach() for out in net(x)]
    assert [o.shape for o in outs] == [(2, c, *x.shape[2:]) for c in (4, 6)]
    assert not any('small' in name for name, _ in net.named_parameters())
    if causal:
        x[..., 7:] = 0
        assert_close(net(x)[-1][..., :7], outs[-1][..., :7], 1e-12)
    expected = net(x)[-1].detach()
    switch_to_deploy(net)
    assert_close(net(x)[-1], expected, 1e-10)
