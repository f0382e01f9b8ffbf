from pathlib import Path

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from smpconv_mm.convert import convert_oriented1d, convert_unireplknet
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model
from smpconv_mm.models import SMPNet

ROOT = Path(__file__).parents[2]
ORIENTED = {
    'layer_wise': 'cascade-mask-rcnn_convnext-1d-{}_fpn_8xb2-3x_coco.py',
    'stage_wise': 'convnext-1d-{}_upernet_4xb4-160k_ade20k-512x512.py',
}

ARCH = dict(channels=[8, 16, 24], depths=[2, 1, 3], kernel_sizes=[7, 5, 5])


class Detector(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.neck = nn.Conv2d(24, 8, 1)


def wrap(model, rate=0.5):
    return build_optim_wrapper(
        model,
        dict(
            constructor='smpconv_mm.LayerDecayOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.1),
            paramwise_cfg=dict(
                layer_decay_rate=rate,
                norm_decay_mult=0.0,
                bias_decay_mult=0.0,
                custom_keys={'.kernel.radius': dict(lr_mult=0.1, decay_mult=0.0)},
            ),
        ),
    )


@pytest.mark.parametrize(
    'name, depth',
    [
        ('stem.0.conv.weight', 0),
        ('stages.0.blocks.0.pw1.conv.weight', 1),
        ('stages.0.blocks.1.pw1.conv.weight', 1),
        ('stages.0.blocks.3.pw2.conv.weight', 2),
        ('transitions.0.0.conv.weight', 3),
        ('stages.1.blocks.0.norm.bias', 3),
        ('transitions.1.1.bn.weight', 4),
        ('stages.2.blocks.5.norm.weight', 6),
        ('norm2.weight', 7),
    ],
)
def test_depth(name, depth):
    net = SMPNet(ARCH)
    assert name in dict(net.named_parameters())
    assert net.get_layer_depth(name) == (depth, 8)
    assert net.get_layer_depth(f'backbone.{name}', 'backbone.') == (depth, 8)
    assert net.get_layer_depth('neck.weight', 'backbone.') == (7, 8)


def test_learning_rates():
    """Each layer half of the next, radii a tenth of their layer."""
    model = Detector(SMPNet(ARCH, frozen_stages=0))
    optimizer = wrap(model).optimizer
    names = {id(p): n for n, p in model.named_parameters()}
    groups = {names[id(g['params'][0])]: g for g in optimizer.param_groups}
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert set(groups) == trained and 'backbone.stem.0.conv.weight' not in groups
    stage = 'backbone.stages.0.blocks.0'
    assert groups[f'{stage}.pw1.conv.weight']['lr'] == 0.5**6
    assert groups[f'{stage}.pw1.conv.weight']['weight_decay'] == 0.1
    kernel = f'{stage}.large_kernel.smp.conv.kernel'
    assert groups[f'{kernel}.weight']['lr'] == 0.5**6
    assert groups[f'{kernel}.radius']['lr'] == pytest.approx(0.1 * 0.5**6)
    assert groups[f'{kernel}.radius']['weight_decay'] == 0
    assert groups['backbone.stages.2.blocks.5.norm.weight']['lr'] == 0.5
    assert groups['backbone.stages.2.blocks.5.norm.weight']['weight_decay'] == 0
    assert groups['neck.weight']['lr'] == groups['backbone.norm2.bias']['lr'] == 1
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def test_no_decay_is_the_common_rate():
    groups = wrap(Detector(SMPNet(ARCH)), rate=1.0).optimizer.param_groups
    assert {round(g['lr'], 6) for g in groups} == {1.0, 0.1}


def test_a_classifier_of_mmpretrain():
    from smpconv_mm.registry import MODELS

    classifier = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='smpconv_mm.SMPNet', arch=ARCH),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=24),
        )
    )
    rates = {g['lr'] for g in wrap(classifier).optimizer.param_groups}
    assert {0.5**depth for depth in range(8)} < rates
    assert max(rates) == 1


def test_a_backbone_that_does_not_tell():
    with pytest.raises(NotImplementedError, match='get_layer_depth'):
        wrap(Detector(nn.Conv2d(3, 24, 1)))


def rates_and_decays(cfg):
    """Of each parameter of a config's model; rates relative to the optimiser's."""
    init_default_scope(cfg.default_scope)
    model = build_model(cfg)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (
            group['lr'] / cfg.optim_wrapper.optimizer.lr,
            group['weight_decay'],
        )
        for group in groups
        for p in group['params']
    }


def compare_with_the_original(found, table, convert):
    """A table of the original program, by its names: depth, rate, decay."""
    prefix = 'backbone.'
    original = {n.removeprefix(prefix): n for n in table if n.startswith(prefix)}
    _, report = convert(dict.fromkeys(original, torch.zeros(1)), classifier=False)
    expected = {
        new: pytest.approx(table[original[old]][1:])
        for old, new in report.renamed.items()
        if not old.endswith('theta')  # no parameter here
    }
    assert {n: v for n, v in found.items() if n.startswith(prefix)} == expected
    rest = {scale for n, (scale, _) in found.items() if not n.startswith(prefix)}
    assert rest == {1.0}


@pytest.mark.parametrize('arch', ['tiny', 'base'])
@pytest.mark.parametrize('kind', ORIENTED)
def test_the_original_program(arch, kind):
    """Rates and decays of ConvNeXt-1D in a detector and in a segmenter."""
    data = torch.load(
        ROOT / 'tests/golden/oriented1d/layer_decay.pt', weights_only=True
    )
    data = data[f'{arch}_1d_{kind}']
    cfg = load_config(str(ROOT / 'configs/oriented1d' / ORIENTED[kind].format(arch)))
    assert cfg.optim_wrapper.optimizer.weight_decay == data['base_wd']
    compare_with_the_original(rates_and_decays(cfg), data['table'], convert_oriented1d)


@pytest.mark.parametrize(
    'name, config',
    [
        ('det_t', 'cascade-mask-rcnn_unireplknet-t_fpn_8xb2-3x_coco.py'),
        ('seg_s', 'unireplknet-s_upernet_8xb2-160k_ade20k-512x512.py'),
    ],
)
def test_the_original_program_of_unireplknet(name, config):
    data = torch.load(
        ROOT / 'tests/golden/unireplknet/layer_decay.pt', weights_only=True
    )[name]
    cfg = load_config(str(ROOT / 'configs/unireplknet' / config))
    rate = cfg.optim_wrapper.paramwise_cfg.layer_decay_rate
    assert rate == data['decay_rate']
    compare_with_the_original(rates_and_decays(cfg), data['table'], convert_unireplknet)
