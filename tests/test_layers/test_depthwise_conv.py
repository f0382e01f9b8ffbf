import copy

import pytest
import torch
from tolerances import assert_close
from torch import nn

import smpconv_mm
from smpconv_mm import ops
from smpconv_mm.layers import DepthwiseConv2d
from smpconv_mm.registry import MODELS

# channels in and out, side of the kernel, further arguments, whether ours serves
CASES = [
    (6, 6, 5, dict(groups=6, padding=2), True),
    (6, 6, (3, 7), dict(groups=6, padding='same', bias=False), True),
    (6, 6, 3, dict(groups=6, padding=1, stride=2), False),
    (6, 6, 3, dict(groups=6, padding=2, dilation=2), True),
    (6, 6, (3, 5), dict(groups=6, padding='same', dilation=(3, 2)), True),
    (6, 6, 3, dict(groups=6, padding=1, dilation=2), False),
    (6, 6, 4, dict(groups=6, padding='same'), False),
    (6, 6, 3, dict(groups=6), False),
    (6, 12, 3, dict(groups=6, padding=1), False),
    (6, 6, 3, dict(padding=1), False),
    (6, 6, 3, dict(groups=6, padding=1, padding_mode='reflect'), False),
]


@pytest.mark.parametrize('channels_in, channels_out, side, options, ours', CASES)
def test_is_the_ordinary_convolution(
    channels_in, channels_out, side, options, ours, monkeypatch
):
    torch.manual_seed(0)
    cfg = dict(type='smpconv_mm.DepthwiseConv2d')
    layer = MODELS.build(
        dict(
            cfg,
            in_channels=channels_in,
            out_channels=channels_out,
            kernel_size=side,
            **options,
        )
    ).double()
    assert isinstance(layer, DepthwiseConv2d)
    plain = nn.Conv2d(channels_in, channels_out, side, **options).double()
    plain.load_state_dict(layer.state_dict())
    calls = []
    conv = ops.depthwise_conv2d
    monkeypatch.setattr(
        ops, 'depthwise_conv2d', lambda *args: calls.append(1) or conv(*args)
    )
    results = []
    for module in (layer, plain):
        x = torch.linspace(-1, 1, 2 * channels_in * 9 * 8, dtype=torch.float64)
        x = x.sin().reshape(2, channels_in, 9, 8).requires_grad_()
        out = module(x)
        grads = torch.autograd.grad(out.square().sum(), [x, *module.parameters()])
        results.append([out.detach(), *grads])
    assert bool(calls) == ours
    for a, b in zip(*results):
        assert_close(a, b, 1e-12)


@pytest.mark.parametrize(
    'cfg, layers',
    [
        (dict(type='ConvNeXt', arch=dict(depths=[1, 1], channels=[8, 16]),
              out_indices=(0, 1), gap_before_final_norm=False), 2),
        (dict(type='RepLKNet', arch=dict(large_kernel_sizes=[9, 7, 5, 3],
              layers=[1, 1, 1, 1], channels=[8, 8, 16, 16], small_kernel=3,
              dw_ratio=1)), 9),
        (dict(type='VAN', arch=dict(embed_dims=[8, 8, 16, 16], depths=[1, 1, 1, 1],
              ffn_ratios=[2, 2, 2, 2])), 12),
        (dict(type='HorNet', arch=dict(base_dim=8, depths=[1, 1, 1, 1], orders=[2] * 4,
              dw_cfg=[dict(type='DW', kernel_size=7)] * 4)), 4),
    ],
    ids=lambda v: v.get('type', '') if isinstance(v, dict) else '',
)  # fmt: skip
def test_accelerates_networks_of_mmpretrain(cfg, layers):
    torch.manual_seed(0)
    cfg = dict(cfg, type=f'mmpretrain.{cfg["type"]}')
    net = MODELS.build(cfg).double()
    net.eval()
    plain = copy.deepcopy(net)
    assert smpconv_mm.accelerate(net) is net
    found = sum(isinstance(m, DepthwiseConv2d) for m in net.modules())
    assert found == layers
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    for a, b in zip(net(x), plain(x)):
        assert_close(a, b, 1e-10)
    assert net.state_dict().keys() == plain.state_dict().keys()
    smpconv_mm.accelerate(net, False)
    assert str(net) == str(plain)
