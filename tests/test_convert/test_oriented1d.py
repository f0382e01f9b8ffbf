"""Networks of the original program: the same outputs here, after conversion."""

import re
from pathlib import Path

import pytest
import torch
from original_weights import original_weights
from tolerances import assert_close

from smpconv_mm.checkpoint import load as load_file
from smpconv_mm.convert import convert_oriented1d
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model
from smpconv_mm.errors import CheckpointError
from smpconv_mm.models import OrientedConvNeXt

DATA = Path(__file__).parents[1] / 'golden' / 'oriented1d'
CONFIGS = Path(__file__).parents[2] / 'configs' / 'oriented1d'
TOOL = 'model_converters/oriented1d_to_mm.py'
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


# numbers in a published classifier of size T, and in its backbone for other tasks
NUMBERS = {
    '2d': (28_589_128, 27_821_472),
    '1d': (28_482_792, 27_659_840),
    '1dpp': (29_249_128, 28_255_680),
    '2dpp': (29_463_496, 28_474_656),
}


def published(variant, backbone=False):
    """Names and shapes of a network of size T, as the original program has them."""
    out, dims, wrap = {}, [96, 192, 384, 768], '.conv' * backbone

    def affine(name, *shape):
        out[f'{name}.weight'], out[f'{name}.bias'] = shape, shape[:1]

    def line(name, channels, taps):
        affine(f'{name}{wrap}', channels, 1, 1, taps)
        out[f'{name}{wrap}.theta'] = (channels,)

    first, second = {'1d': (31, 0), '1dpp': (15, 31)}.get(variant, (7, 31))
    second = 0 if variant == '2d' else second
    stem = 'downsample_layers.0.'
    if variant[0] == '1':
        affine(f'{stem}pw1', 64, 3)
        affine(f'{stem}pw2', dims[0], 64)
        line(f'{stem}dw1', 64, first)
        line(f'{stem}dw2', 64, first)
        for i, channels in enumerate((64, 64, dims[0])):
            affine(f'{stem}norm{i + 1}', channels)
    else:
        affine(f'{stem}0', dims[0], 3, 4, 4)
        affine(f'{stem}1', dims[0])
    for i in (1, 2, 3):
        affine(f'downsample_layers.{i}.0', dims[i - 1])
        affine(f'downsample_layers.{i}.1', dims[i], dims[i - 1], 2, 2)
    for i, (depth, c) in enumerate(zip((3, 3, 9, 3), dims)):
        most = (111, 55, 27, 13)[i] if backbone else 31
        for j in range(depth):
            block = f'stages.{i}.{j}.'
            out[f'{block}gamma'] = (c,)
            name = f'{block}dwconv1' if second else f'{block}dwconv'
            if variant[0] == '1':
                line(name, c, min(first, most))
            else:
                affine(name, c, 1, 7, 7)
            if second:
                line(f'{block}dwconv2', 4 * c, min(second, most))
            affine(f'{block}norm', c)
            affine(f'{block}pwconv1', 4 * c, c)
            affine(f'{block}pwconv2', c, 4 * c)
    if backbone:
        for i, c in enumerate(dims):
            affine(f'norm{i}', c)
    else:
        affine('norm', dims[-1])
        affine('head', 1000, dims[-1])
    generator = torch.Generator().manual_seed(0)
    return {k: torch.randn(s, generator=generator) for k, s in out.items()}


def numbers(state_dict):
    return sum(v.numel() for v in state_dict.values())


@pytest.mark.parametrize('variant', NUMBERS)
def test_published_networks(run_tool, variant, tmp_path):
    weights = published(variant)
    assert numbers(weights) == NUMBERS[variant][0]
    averaged = {f'module.{k}': v + 1 for k, v in weights.items()}
    src, dst = tmp_path / 'original.pth', tmp_path / 'ours.pth'
    torch.save(dict(model=weights, model_ema=averaged, epoch=299), src)

    config = CONFIGS / f'convnext-{variant}-tiny_32xb128_in1k.py'
    for options, more in (((), 0), (('--ema',), 1)):
        out = run_tool(TOOL, src, dst, '--config', config, *options).stdout
        assert f'{len(weights)} entries converted' in out and 'dropped' not in out
        net = build_model(load_config(str(config)), dst)
        block = net.backbone.stages[2][8]
        expected = weights['stages.2.8.pwconv1.weight'] + more
        assert torch.equal(block.pointwise_conv1.weight, expected)

    name = f'convnext-{variant}-tiny_upernet_4xb4-160k_ade20k-512x512.py'
    out = run_tool(TOOL, src, dst, '--config', CONFIGS / name).stdout
    assert 'dropped: norm.weight, norm.bias, head.weight, head.bias' in out
    assert 'initial values: backbone.norm0.weight' in out
    cropped = {'1d': (9, 3), '2d': (0, 0)}.get(variant, (9, 3))
    for number, taps in zip(cropped, (27, 13)):
        if variant == '1dpp' and taps == 13:
            assert '3 kernels cut from 15 to 13 taps' in out
        line = f'{number} kernels cut from 31 to {taps} taps'
        assert (line in out) == bool(number), out
    state = load_file(dst)['state_dict']
    assert numbers(state) == NUMBERS[variant][1]
    if variant != '2d':
        old, new = ('', 'depthwise') if variant == '1d' else ('2', 'middle')
        kernel = state[f'backbone.stages.3.2.{new}_conv.kernel.weight']
        expected = weights[f'stages.3.2.dwconv{old}.weight'][..., 9:22]
        assert torch.equal(kernel, expected)
    # the weights that a training starts from
    cfg = load_config(str(CONFIGS / name))
    cfg.model.backbone.init_cfg.checkpoint = str(dst)
    net = build_model(cfg, part='backbone')
    net.init_weights()
    loaded = net.state_dict()
    for key, value in state.items():
        assert torch.equal(loaded[key.removeprefix('backbone.')], value), key


@pytest.mark.parametrize('variant', NUMBERS)
def test_published_backbones(run_tool, variant, tmp_path):
    weights = published(variant, backbone=True)
    assert numbers(weights) == NUMBERS[variant][1]
    src, dst = tmp_path / 'original.pth', tmp_path / 'ours.pth'
    torch.save(dict(state_dict=weights), src)
    config = CONFIGS / f'cascade-mask-rcnn_convnext-{variant}-tiny_fpn_8xb2-3x_coco.py'
    out = run_tool(TOOL, src, dst, '--config', config, '--keys').stdout
    assert f'{len(weights)} entries converted' in out and 'initial' not in out
    state = load_file(dst)['state_dict']
    assert torch.equal(state['backbone.norm2.bias'], weights['norm2.bias'])
    assert numbers(state) == NUMBERS[variant][1]


def test_a_classifier_of_ours_becomes_a_backbone(run_tool, tmp_path):
    config = CONFIGS / 'convnext-1d-tiny_32xb128_in1k.py'
    net = build_model(load_config(str(config)))
    src, dst = tmp_path / 'ours.pth', tmp_path / 'backbone.pth'
    torch.save(dict(state_dict=net.state_dict()), src)
    name = 'convnext-1d-tiny_upernet_4xb4-160k_ade20k-512x512.py'
    out = run_tool(TOOL, src, dst, '--config', CONFIGS / name).stdout
    assert 'dropped: backbone.norm3.weight' in out and 'head.fc.bias' in out
    kernel = load_file(dst)['state_dict'][
        'backbone.stages.3.0.depthwise_conv.kernel.weight'
    ]
    before = net.backbone.stages[3][0].depthwise_conv.kernel.weight
    assert torch.equal(kernel, before[..., 9:22])


@pytest.mark.parametrize(
    'variant, options, message',
    [
        ('1dpp', (), 'does not fit the model'),
        ('1d', ('--ema',), r"no averaged weights \(model_ema\), only \['model'\]"),
    ],
)
def test_bad_files(run_tool, variant, options, message, tmp_path):
    src, dst = tmp_path / 'original.pth', tmp_path / 'ours.pth'
    torch.save(dict(model=published(variant)), src)
    config = CONFIGS / 'convnext-1d-tiny_32xb128_in1k.py'
    done = run_tool(TOOL, src, dst, '--config', config, *options, check=False)
    assert done.returncode and re.search(message, done.stderr)
    assert not dst.exists()
