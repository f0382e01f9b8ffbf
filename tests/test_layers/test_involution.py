from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_conv_layer
from tolerances import assert_close

from smpconv_mm.layers import CVolution2d, Involution2d
from smpconv_mm.registry import MODELS

GOLDEN = Path(__file__).parents[1] / 'golden' / 'cvolution'
BOTH = [Involution2d, CVolution2d]


def plain(layer, x):
    """The published formulas, with windows written out."""
    n, c, h, w = x.shape
    k, t = layer.kernel_size, layer.stride
    z = F.avg_pool2d(x, t, t, ceil_mode=True) if t > 1 else x
    kernels = layer.conv2(layer.conv1(z))
    p, q = kernels.shape[-2:]
    kernels = kernels.view(n, layer.groups, 1, k * k, p, q)
    d = layer.dilation
    windows = F.unfold(x, k, d, d * (k - 1) // 2, t).view(n, c, k * k, p, q)
    windows = windows.view(n, layer.groups, -1, k * k, p, q)
    out = (kernels * windows).sum(3).view(n, c, p, q)
    if layer.bias is not None:
        out = out + layer.bias[:, None, None]
    if isinstance(layer, CVolution2d):
        out = out * layer.conv_q(x).mean((2, 3), keepdim=True)
    return out


@pytest.mark.parametrize('k', [1, 3, 5, 7])
@pytest.mark.parametrize('stride, dilation', [(1, 1), (2, 1), (3, 1), (1, 2), (2, 3)])
@pytest.mark.parametrize('size', [(12, 18), (11, 7), (1, 1)], ids=str)
@pytest.mark.parametrize('layer', BOTH)
def test_published_formula(layer, size, stride, dilation, k):
    if layer is CVolution2d and k == 1 and min(size) < 3:
        pytest.skip('the 3 x 3 convolution has no padding')
    torch.manual_seed(0)
    made = layer(32, k, stride, dilation=dilation, bias=True).double().eval()
    torch.nn.init.normal_(made.bias)
    x = torch.randn(2, 32, *size, dtype=torch.float64)
    assert_close(made(x), plain(made, x), 1e-12)


def test_parameters():
    def count(layer):
        return sum(p.numel() for p in layer.parameters())

    assert count(Involution2d(256, 7)) == 67472
    assert count(CVolution2d(256, 7)) == 104400


def test_values_of_the_original():
    """The weights of the file are rounded to float32."""
    golden = torch.load(GOLDEN / 'cvolution_c32_k7_s1_q16.pt', weights_only=True)
    layer = CVolution2d(32, 7).double().eval()
    layer.load_state_dict(golden['state_dict'], strict=True)
    x = golden['input'].requires_grad_()
    out = layer(x)
    assert_close(out, golden['output'], 1e-6)
    (out * golden['cotangent']).sum().backward()
    assert_close(x.grad, golden['grad_input'], 1e-6)
    for name, parameter in layer.named_parameters():
        assert_close(parameter.grad, golden['grads'][name], 1e-6, name)


def test_names_of_the_original():
    norm = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
    assert set(Involution2d(32, 3).state_dict()) == {
        'conv1.conv.weight',
        *(f'conv1.bn.{name}' for name in norm),
        'conv2.conv.weight',
        'conv2.conv.bias',
    }


@pytest.mark.parametrize('layer', BOTH)
def test_gradients_reach_every_parameter(layer):
    torch.manual_seed(0)
    made = layer(32, 5, 2, norm_cfg=dict(type='GN', num_groups=2))
    x = torch.randn(2, 32, 9, 8, requires_grad=True)
    made(x).square().sum().backward()
    for name, parameter in (*made.named_parameters(), ('input', x)):
        assert parameter.grad.any(), name


@pytest.mark.parametrize('layer', BOTH)
def test_gradcheck(layer):
    torch.manual_seed(0)
    made = layer(16, 5).double().eval()
    x = torch.randn(1, 16, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(made, x, fast_mode=True)


def test_norm_and_activation_of_the_config():
    cfg = dict(norm_cfg=dict(type='GN', num_groups=2), act_cfg=dict(type='GELU'))
    for layer in (Involution2d(32, 3, **cfg), CVolution2d(32, 3, **cfg)):
        kinds = {type(m).__name__ for m in layer.modules()}
        assert {'GroupNorm', 'GELU'} <= kinds and 'BatchNorm2d' not in kinds


@pytest.mark.parametrize('name', ['InvolutionConv2d', 'CVolutionConv2d'])
def test_stands_for_a_convolution(name):
    cfg = dict(type=f'smpconv_mm.{name}', group_channels=8)
    module = ConvModule(
        32, 32, 3, stride=2, padding=1, conv_cfg=cfg, norm_cfg=dict(type='BN')
    )
    assert module(torch.randn(1, 32, 9, 8)).shape == (1, 32, 5, 4)
    assert module.conv.groups == 4 and module.conv.bias is None
    layer = build_conv_layer(cfg, 32, 32, (5, 5), padding=(4, 4), dilation=2)
    assert layer(torch.randn(1, 32, 9, 8)).shape == (1, 32, 9, 8)
    assert layer.bias.shape == (32,)
    for args, message in (
        (dict(out_channels=64), '32 to 64 channels'),
        (dict(groups=32), 'groups=32'),
        (dict(kernel_size=(3, 5)), r'kernel_size must be square, got \(3, 5\)'),
        (dict(padding=0), 'pads by 1.*got padding=0'),
    ):
        with pytest.raises(ValueError, match=message):
            conv = dict(in_channels=32, out_channels=32, kernel_size=3)
            MODELS.build({**cfg, **conv, **args})


@pytest.mark.parametrize(
    'args, options, message',
    [
        ((30, 3), {}, 'multiple of group_channels, got 30 channels'),
        ((16, 3), dict(reduction_ratio=3), 'multiple of reduction_ratio.*16.*3'),
        ((32, 4), {}, 'kernel_size must be odd, got 4'),
        ((32, 3, 0), {}, 'at least 1, got 0'),
        ((32, 3), dict(dilation=0), 'at least 1'),
    ],
)
@pytest.mark.parametrize('layer', BOTH)
def test_bad_arguments(layer, args, options, message):
    with pytest.raises(ValueError, match=f'{layer.__name__}.*{message}'):
        layer(*args, **options)


def test_bad_input():
    with pytest.raises(ValueError, match=r'\(N, 32, H, W\).*\(1, 16, 4, 4\)'):
        Involution2d(32, 3)(torch.zeros(1, 16, 4, 4))
    with pytest.raises(ValueError, match=r'multiples of stride 2, got \(4, 5\)'):
        Involution2d(32, 3, 2, ceil_mode=False)(torch.zeros(1, 32, 4, 5))
    with pytest.raises(ValueError, match='multiple of gate_groups.*24.*16'):
        CVolution2d(24, 3, group_channels=8)


def test_autocast():
    torch.manual_seed(0)
    layer = CVolution2d(32, 7).eval()
    x = torch.randn(1, 32, 9, 9)
    with torch.autocast('cpu', torch.bfloat16):
        out = layer(x)
    assert_close(out.float(), layer(x).detach(), 3e-2)
