"""Networks of the original program: the same outputs here, after conversion."""

from pathlib import Path

import pytest
import torch
from original_weights import original_weights
from tolerances import assert_close

from smpconv_mm.convert import convert_oriented1d
from smpconv_mm.errors import CheckpointError
from smpconv_mm.models import OrientedConvNeXt

DATA = Path(__file__).parents[1] / 'golden' / 'oriented1d'
ARCH = dict(depths=[2, 1, 2, 1], channels=[16, 24, 32, 40])


def load(name):
    data = torch.load(DATA / f'{name}.pt', weights_only=True)
    return data, original_weights(data['shapes'], data['theta'])


def build(**kwargs):
    return OrientedConvNeXt(ARCH, '1dpp', stem_channels=16, **kwargs).double()


def backbone_of(state_dict):
    prefix = 'backbone.'
    return {k.removeprefix(prefix): v for k, v in state_dict.items() if prefix in k}


def test_classifier_agrees_with_the_original():
    data, weights = load('mini_cls_1dpp')
    net = build().eval()
    made = {k: v.clone() for k, v in net.state_dict().items() if 'angle' in k}
    out, report = convert_oriented1d(weights)
    net.load_state_dict(backbone_of(out))
    assert len(report.renamed) == len(weights) and not report.dropped
    # directions of groups and layers are those of the published networks
    assert all(torch.equal(made[k], net.state_dict()[k]) for k in made)
    x = data['input'].requires_grad_()
    scores = net(x)[0] @ out['head.fc.weight'].T + out['head.fc.bias']
    assert_close(scores, data['output'], 1e-12)
    names = {'dw1': 'depthwise_conv1', 'dw2': 'depthwise_conv2'}
    names |= {'dwconv1': 'depthwise_conv', 'dwconv2': 'middle_conv'}
    wanted, found = [x], [data['grad_input']]
    for name, grad in data['grads'].items():
        parent, kind, end = name.rsplit('.', 2)
        layer = net.get_submodule(f'{parent}.{names[kind]}')
        wanted.append(layer.kernel.weight if end == 'weight' else layer.bias)
        found.append(grad)
    grads = torch.autograd.grad(scores, wanted, data['cotangent'])
    for actual, expected in zip(grads, found):
        assert_close(actual, expected, 1e-11)


def test_backbone_for_larger_images():
    data, weights = load('convert_mini_1dpp')
    net = build(
        trained_sides=(56, 28, 14, 7),
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
    ).eval()
    shapes = {f'backbone.{k}': v.shape for k, v in net.state_dict().items()}
    out, report = convert_oriented1d(weights, shapes, classifier=False)
    assert set(report.dropped) == {
        f'{a}.{b}' for a in ('norm', 'head') for b in ('weight', 'bias')
    }
    missing, unexpected = net.load_state_dict(backbone_of(out), strict=False)
    assert set(missing) == {
        f'norm{i}.{b}' for i in range(4) for b in ('weight', 'bias')
    }
    assert not unexpected
    for actual, expected in zip(net(data['input']), data['output']):
        assert_close(actual, expected, 1e-12)


def test_names_of_the_original_backbone():
    """There, each oriented layer is wrapped once more."""
    data, weights = load('convert_mini_1dpp')
    wrapped = {}
    for name, value in weights.items():
        parent, _, end = name.rpartition('.')
        name = f'{parent}.conv.{end}' if f'{parent}.theta' in weights else name
        if not name.startswith(('norm.', 'head.')):
            wrapped[name] = value
    assert set(data['backbone_names']) - set(wrapped) == {
        f'norm{i}.{b}' for i in range(4) for b in ('weight', 'bias')
    } & set(data['backbone_names'])
    out, _ = convert_oriented1d(wrapped, classifier=False)
    plain, _ = convert_oriented1d(weights, classifier=False)
    assert out.keys() == plain.keys()


def test_taps_that_are_missing_become_zeros():
    _, weights = load('mini_cls_1dpp')
    name = 'backbone.stages.0.0.depthwise_conv.kernel.weight'
    for taps in (9, 21):
        out, _ = convert_oriented1d(weights, {name: torch.Size((16, 1, 1, taps))})
        before = weights['stages.0.0.dwconv1.weight']
        extra = (taps - 15) // 2
        wanted = torch.nn.functional.pad(before, (extra, extra))
        assert torch.equal(out[name], wanted)


@pytest.mark.parametrize('name', ['layer1.0.conv1.weight', 'stages.0.0.dwconv3.theta'])
def test_refuses_other_networks(name):
    _, weights = load('mini_cls_1dpp')
    with pytest.raises(CheckpointError, match=name):
        convert_oriented1d({**weights, name: torch.zeros(3)})
