"""Names of the ConvNeXt-dcls repository; its layers are compared in test_layers."""

import pytest
import torch

from smpconv_mm.convert import convert_dcls
from smpconv_mm.errors import CheckpointError
from smpconv_mm.models import DCLSConvNeXt

ARCH = dict(depths=[1, 2, 1, 1], channels=[8, 16, 16, 24])
# ours, and as the authors call it
NAMES = [
    ('depthwise_conv.kernel.weight', 'dwconv.weight'),
    ('depthwise_conv.kernel.position', 'dwconv.P'),
    ('depthwise_conv.kernel.width', 'dwconv.SIG'),
    ('depthwise_conv.bias', 'dwconv.bias'),
    ('pointwise_conv', 'pwconv'),
    ('norm3.', 'norm.'),
]


def network(version):
    net = DCLSConvNeXt(ARCH, kernel_size=9, n_points=5, version=version).double()
    original = {'head.weight': torch.randn(10, 24), 'head.bias': torch.randn(10)}
    for name, value in net.state_dict().items():
        if '_trained_size' in name:
            continue
        if name.endswith(('position', 'width')) and version != 'v0':
            value = value.flip(0)  # columns first
        for ours, theirs in NAMES:
            name = name.replace(ours, theirs)
        original[name] = value
    return net, original


@pytest.mark.parametrize('version', ['v0', 'v1', 'max', 'gauss'])
def test_entries_are_renamed(version):
    net, original = network(version)
    out, report = convert_dcls(original, version)
    assert len(report.renamed) == len(original) and not report.dropped
    assert torch.equal(out['head.fc.weight'], original['head.weight'])
    other, _ = network(version)
    other.load_state_dict(
        {k.partition('.')[2]: v for k, v in out.items() if k.startswith('backbone.')}
    )
    for name, value in net.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_a_backbone_has_no_head():
    _, original = network('v0')
    out, report = convert_dcls(original, 'v0', classifier=False)
    dropped = {'norm.weight', 'norm.bias', 'head.weight', 'head.bias'}
    assert set(report.dropped) == dropped
    assert all(name.startswith('backbone.') for name in out)


def test_another_network_is_refused():
    with pytest.raises(CheckpointError, match='not of a ConvNeXt-dcls'):
        convert_dcls({'layer1.0.conv1.weight': torch.zeros(1)})
