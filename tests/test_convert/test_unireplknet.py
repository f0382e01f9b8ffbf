"""Networks of the original program: the same outputs here, after conversion."""

import re
from pathlib import Path

import pytest
import torch
from original_weights import original_weights
from tolerances import assert_close

from smpconv_mm.checkpoint import load as load_file
from smpconv_mm.convert import convert_unireplknet
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model
from smpconv_mm.errors import CheckpointError
from smpconv_mm.layers import switch_to_deploy
from smpconv_mm.models import UniRepLKNet
from smpconv_mm.models.backbones.unireplknet import UniRepLKNetBlock

ROOT = Path(__file__).parents[2]
DATA = ROOT / 'tests/golden/unireplknet'
CONFIG = ROOT / 'configs/unireplknet/unireplknet-micro_1xb64_digits.py'
TOOL = 'model_converters/unireplknet_to_mm.py'


def load(name):
    return torch.load(DATA / f'{name}.pt', weights_only=True)


def backbone_of(state_dict):
    prefix = 'backbone.'
    return {k.removeprefix(prefix): v for k, v in state_dict.items() if prefix in k}


def mini(**kwargs):
    arch = dict(
        channels=[8, 16, 24, 40],
        depths=[2, 1, 3, 1],
        kernel_sizes=[[3, 5], [13], [13, 3, 7], [13]],
    )
    return UniRepLKNet(arch, **kwargs).double()


def names_of(original, **kwargs):
    """Our name of each entry of the original network."""
    values = dict.fromkeys(original, torch.zeros(1))
    return convert_unireplknet(values, **kwargs)[1].renamed


@pytest.mark.parametrize('form', ['eval', 'train'])
def test_classifier_agrees_with_the_original(form):
    data = load('mini_64')
    weights = original_weights(data['shapes'])
    out, report = convert_unireplknet(weights)
    assert len(report.renamed) == len(weights) and not report.dropped
    assert not report.deploy
    net = mini().train(form == 'train')
    net.load_state_dict(backbone_of(out))
    end = '_train' if form == 'train' else ''
    head = {k: v.requires_grad_() for k, v in out.items() if k.startswith('head.')}
    scores = net(data['x'])[0] @ head['head.fc.weight'].T + head['head.fc.bias']
    assert_close(scores, data[f'logits{end}'], 1e-12)
    (scores * data['cot']).sum().backward()
    found = {f'backbone.{k}': v for k, v in net.named_parameters()} | head
    grads = data[f'grad_norms{end}']
    assert len(grads) == len(found)
    for name, size in grads.items():
        grad = found[report.renamed[name]].grad
        assert grad.norm() == pytest.approx(size, rel=1e-8, abs=1e-10), name
    if form == 'train':
        state = net.state_dict()
        for name, value in data['buffers_after_train'].items():
            ours = report.renamed[name].removeprefix('backbone.')
            assert_close(state[ours], value, 1e-12, name)


def test_deploy_form_agrees_with_the_original():
    data = load('mini_64')
    out, report = convert_unireplknet(original_weights(data['shapes']))
    net = mini()
    net.load_state_dict(backbone_of(out))
    switch_to_deploy(net)
    state = {f'backbone.{k}': v for k, v in net.state_dict().items()}
    names = names_of(data['deploy_shapes'])
    assert {*names.values()} == {*state, 'head.fc.weight', 'head.fc.bias'}
    for old, new in names.items():
        if new in state:
            assert list(state[new].shape) == list(data['deploy_shapes'][old])
            total, size = data['deploy_sums'][old]
            assert float(state[new].sum()) == pytest.approx(total, abs=1e-10), old
            assert float(state[new].abs().sum()) == pytest.approx(size, abs=1e-10), old
    scores = net(data['x'])[0] @ out['head.fc.weight'].T + out['head.fc.bias']
    assert_close(scores, data['logits_deploy'], 1e-12)


def test_maps_agree_with_the_original():
    data = load('mini_64')
    shapes = {k: v for k, v in data['shapes'].items() if not k.startswith('head.')}
    widths = [8, 16, 24, 40]
    for i, width in enumerate(widths):
        shapes |= {f'norm{i}.{end}': [width] for end in ('weight', 'bias')}
    out, report = convert_unireplknet(original_weights(shapes), classifier=False)
    assert {*report.dropped} == {'norm.weight', 'norm.bias'}
    net = mini(out_indices=range(4), gap_before_final_norm=False).eval()
    net.load_state_dict(backbone_of(out))
    assert_close(net(data['x'])[3], data['features'], 1e-12)


@pytest.mark.parametrize('form', ['eval', 'train', 'deploy'])
def test_block_agrees_with_the_original(form):
    data = load('block_k7')
    prefix = 'stages.0.0.'
    names = names_of([prefix + name for name in data['shapes']], classifier=False)
    names = {
        old.removeprefix(prefix): new.removeprefix(f'backbone.{prefix}')
        for old, new in names.items()
    }
    block = UniRepLKNetBlock(8, 7, norm_cfg=dict(type='BN')).double()
    weights = original_weights(data['shapes'])
    block.load_state_dict({names[k]: v for k, v in weights.items()})
    x = data['x'].requires_grad_()
    if form == 'train':
        assert_close(block(x), data['y_train'], 1e-12)
        state = block.state_dict()
        for name, value in data['buffers_after_train'].items():
            assert_close(state[names[name]], value, 1e-12, name)
        return
    block.eval()
    if form == 'deploy':
        block.switch_to_deploy()
        names = names_of([prefix + name for name in data['deploy_state']])
        state = block.state_dict()
        assert len(state) == len(data['deploy_state'])
        for name, value in data['deploy_state'].items():
            ours = names[prefix + name].removeprefix(f'backbone.{prefix}')
            assert_close(state[ours], value, 1e-13, name)
        assert_close(block(x), data['y'], 1e-12)
        return
    out = block(x)
    assert_close(out, data['y'], 1e-12)
    parameters = dict(block.named_parameters())
    wanted = [x, *(parameters[names[name]] for name in data['grads'])]
    grads = torch.autograd.grad(out, wanted, data['cot'])
    for actual, expected in zip(grads, [data['grad_x'], *data['grads'].values()]):
        assert_close(actual, expected, 1e-11)


def test_another_network_is_refused():
    with pytest.raises(CheckpointError, match='not of a UniRepLKNet'):
        convert_unireplknet({'layer1.0.conv1.weight': torch.zeros(1)})


def in_their_names(state_dict):
    """Entries of our classifier as the authors' program writes them."""
    pairs = [
        (r'^backbone\.norm\d\.', 'norm.'),
        (r'^backbone\.', ''),
        (r'^head\.fc\.', 'head.'),
        (r'depthwise_conv\.(branches\.large\.)?conv\.', 'dwconv.lk_origin.'),
        (r'depthwise_conv\.branches\.large\.bn', 'dwconv.origin_bn'),
        (r'depthwise_conv\.branches\.(k\d_\d)\.(conv|bn)', r'dwconv.dil_\2_\1'),
        ('depthwise_conv', 'dwconv'),
        ('se.conv1.conv', 'se.down'),
        ('se.conv2.conv', 'se.up'),
        ('pointwise_conv1', 'pwconv1.1'),
        ('pointwise_conv2', 'pwconv2.0'),
        ('grn', 'act.1'),
        ('out_norm', 'pwconv2.2'),
    ]
    original = {}
    for name, value in state_dict.items():
        for ours, theirs in pairs:
            name = re.sub(ours, theirs, name)
        original[name] = value
    return original


@pytest.mark.parametrize('form', ['training', 'deploy'])
def test_files(form, run_tool, tmp_path):
    """A file of either form, which is then loaded as any other."""
    model = build_model(load_config(str(CONFIG)))
    model.load_state_dict(
        original_weights({k: v.shape for k, v in model.state_dict().items()})
    )
    image = torch.randn(1, 3, 32, 32)
    expected = model.eval()(image)[0]
    if form == 'deploy':
        switch_to_deploy(model)
    original = in_their_names(model.state_dict())
    src, dst = tmp_path / 'original.pth', tmp_path / 'ours.pth'
    torch.save(dict(model=original, epoch=3), src)
    out = run_tool(TOOL, src, dst, '--config', CONFIG).stdout
    assert f'{len(original)} entries converted' in out
    saved = load_file(dst)
    assert saved['meta'].get('deploy', False) == (form == 'deploy')
    for name, value in model.state_dict().items():
        assert torch.equal(saved['state_dict'][name], value), name
    loaded = build_model(load_config(str(CONFIG)), dst).eval()
    assert_close(loaded(image)[0], expected, 1e-5)


def test_a_file_of_another_size_is_refused(run_tool, tmp_path):
    src = tmp_path / 'original.pth'
    data = load('mini_64')
    torch.save(dict(state_dict=original_weights(data['shapes'])), src)
    out = run_tool(TOOL, src, tmp_path / 'ours.pth', '--config', CONFIG, check=False)
    assert out.returncode and 'does not fit' in out.stderr, out.stderr
    assert not (tmp_path / 'ours.pth').exists()


@pytest.mark.parametrize('names', ['ours', 'theirs'])
def test_a_classifier_becomes_a_backbone(names, run_tool, tmp_path):
    """Without the norm of pooled features, which is none of a map."""
    folder = ROOT / 'configs/unireplknet'
    classifier = build_model(load_config(str(folder / 'unireplknet-t_4xb128_in1k.py')))
    state = classifier.state_dict()
    torch.nn.init.constant_(state['backbone.norm3.weight'], 2)
    src, dst = tmp_path / 'classifier.pth', tmp_path / 'backbone.pth'
    weights = state if names == 'ours' else in_their_names(state)
    torch.save(dict(state_dict=weights), src)
    config = folder / 'unireplknet-t_upernet_8xb2-160k_ade20k-512x512.py'
    out = run_tool(TOOL, src, dst, '--config', config).stdout
    assert 'norm' in re.search('dropped: (.*)', out)[1]
    assert 'initial values: backbone.norm0.weight' in out
    saved = load_file(dst)['state_dict']
    assert saved['backbone.norm3.weight'].eq(1).all()
    name = 'backbone.stages.2.4.depthwise_conv.branches.k7_2.conv.weight'
    assert torch.equal(saved[name], state[name])
