import math

import pytest
import torch
from tolerances import assert_close

from smpconv_mm import ops
from smpconv_mm.layers import KernelConv2d, OrientedConv2d, OrientedKernel, line_angles


def layer(channels=16, taps=7, **kwargs):
    torch.manual_seed(0)
    args = dict(padding=taps // 2, groups=channels, **kwargs)
    return OrientedConv2d(channels, channels, taps, **args)


def test_angles_of_groups():
    degrees = line_angles(16).rad2deg().tolist()
    assert degrees == pytest.approx([22.5 * (c // 2) for c in range(16)])
    turned = line_angles(16, offset=0.5).rad2deg().tolist()
    assert turned == pytest.approx([(22.5 * (c // 2) + 90) % 180 for c in range(16)])
    assert line_angles(3).rad2deg().tolist() == pytest.approx([45, 112.5, 157.5])


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('residual', [False, True])
def test_is_the_operation_and_the_dense_kernel(stride, residual):
    conv = layer(stride=stride, residual=residual)
    x = torch.randn(2, 16, 11, 14)
    out = conv(x)
    weight = conv.kernel.weight + residual * (torch.arange(7) == 3)
    wanted = ops.reference.oriented_conv2d(
        x, weight, conv.kernel.angle, conv.bias, stride=stride
    )
    assert_close(out, wanted, 1e-5)
    dense = torch.nn.functional.conv2d(
        x, conv.make_kernel(), conv.bias, stride, 3, groups=16
    )
    assert_close(out, dense, 1e-5)
    conv.switch_to_deploy()
    assert_close(conv(x), wanted, 1e-5)


@pytest.mark.parametrize(
    'kwargs', [dict(dilation=2, padding=6), dict(padding=0), dict(stride=(1, 2))]
)
def test_other_convolutions_take_the_dense_kernel(kwargs):
    conv = OrientedConv2d(8, 8, 7, groups=8, **kwargs)
    general = KernelConv2d(
        8, 8, 7, groups=8, kernel=dict(type='OrientedKernel'), **kwargs
    )
    general.load_state_dict(conv.state_dict())
    x = torch.randn(1, 8, 16, 16)
    assert torch.equal(conv(x), general(x))


def test_half_precision_leaves_the_angles():
    conv = layer()
    angle = conv.kernel.angle.clone()
    for convert in (torch.nn.Module.half, torch.nn.Module.double):
        convert(conv)
        assert conv.kernel.angle.dtype == torch.float32
        assert torch.equal(conv.kernel.angle, angle)
    assert conv.kernel.weight.dtype == torch.float64


def test_resampled_taps_keep_the_residual():
    kernel = OrientedKernel(1, 8, 7, depthwise=True, residual=True)
    torch.nn.init.constant_(kernel.weight, 0.5)
    kernel.kernel_size = 13
    taps = kernel.taps()[0, 0, 0]
    assert_close(taps.sum(), torch.tensor(7 * 0.5 + 1), 1e-6)
    assert taps[6] - taps[5] == 1


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(kernel_size=6), r'odd number of taps.*\(6, 6\)'),
        (dict(kernel_size=(3, 5)), r'\(3, 5\)'),
        (dict(angle=[0.0, 1.0]), r'one number or 8 of them, got shape \(2,\)'),
        (dict(angle=math.nan), 'must be finite'),
        (dict(residual=True, groups=1), 'depthwise'),
        (dict(stride=0), 'stride must be'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        OrientedConv2d(8, 8, **{'kernel_size': 7, 'groups': 8, **kwargs})


def test_refuses_a_state_dict_with_a_nan_angle():
    conv = layer()
    state = conv.state_dict()
    state['kernel.angle'] = state['kernel.angle'] * math.nan
    with pytest.raises(RuntimeError, match=r'kernel\.angle: angles must be finite'):
        conv.load_state_dict(state)


def test_refuses_other_channels():
    with pytest.raises(ValueError, match=r'16 channels.*\(1, 8, 9, 9\)'):
        layer()(torch.randn(1, 8, 9, 9))
