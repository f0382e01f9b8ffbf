"""Names of the ConvNeXt-dcls repository; its layers are compared in test_layers."""

from pathlib import Path

import pytest
import torch

from smpconv_mm.checkpoint import load
from smpconv_mm.convert import convert_dcls
from smpconv_mm.errors import CheckpointError
from smpconv_mm.models import DCLSConvNeXt

ROOT = Path(__file__).parents[2]
ARCH = dict(depths=[1, 2, 1, 1], channels=[8, 16, 16, 24])
# ours, and as the authors call it
NAMES = [
    ('depthwise_conv.kernel.weight', 'dwconv.weight'),
    ('depthwise_conv.kernel.position', 'dwconv.P'),
    ('depthwise_conv.kernel.width', 'dwconv.SIG'),
    ('depthwise_conv.bias', 'dwconv.bias'),
    ('pointwise_conv', 'pwconv'),
]


def in_their_names(net):
    names = [*NAMES, (f'norm{len(net.stages) - 1}.', 'norm.')]
    original = {}
    for name, value in net.state_dict().items():
        if '_trained_size' in name:
            continue
        version = net.stages[0][0].depthwise_conv.kernel.version
        if name.endswith(('position', 'width')) and version != 'v0':
            value = value.flip(0)  # columns first
        for ours, theirs in names:
            name = name.replace(ours, theirs)
        original[name] = value
    return original


def network(version):
    net = DCLSConvNeXt(ARCH, kernel_size=9, n_points=5, version=version).double()
    original = {'head.weight': torch.randn(10, 24), 'head.bias': torch.randn(10)}
    return net, {**original, **in_their_names(net)}


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


def test_files(run_tool, tmp_path):
    micro = 'configs/dcls/convnext-micro-dcls_1xb64_digits.py'
    net = DCLSConvNeXt(
        dict(depths=[2, 2], channels=[32, 64]), 3, 9, 10, version='gauss'
    )
    original = {'head.weight': torch.randn(10, 64), 'head.bias': torch.randn(10)}
    original |= {k: v for k, v in in_their_names(net).items()}
    src, dst = tmp_path / 'original.pth', tmp_path / 'ours.pth'
    torch.save(dict(model=original, epoch=3), src)
    out = run_tool(
        'model_converters/dcls_to_mm.py', src, dst, '--config', ROOT / micro
    ).stdout
    assert f'{len(original)} entries converted' in out
    weights = load(dst)['state_dict']
    name = 'stages.1.0.depthwise_conv.kernel.position'
    assert torch.equal(weights[f'backbone.{name}'], net.state_dict()[name])
