"""Through timm's interface, as its own tests of models go."""

import re

import pytest
import torch
from mmengine.config import Config
from tolerances import assert_close

from smpconv_mm.apis import timm_models
from smpconv_mm.checkpoint import save
from smpconv_mm.engine.config import preprocessor_of
from smpconv_mm.engine.runner import build_model
from smpconv_mm.layers import SMPKernel, switch_to_deploy

timm = pytest.importorskip('timm')

PUBLISHED = timm_models.published()
# One of each family, some made smaller
ONE_EACH = {
    'smpnet_tiny': dict(
        arch=dict(channels=[16, 24, 32], depths=[1, 1, 2], kernel_sizes=[13, 9, 7])
    ),
    'unireplknet_a': dict(
        arch=dict(
            channels=[16, 24, 32], depths=[1, 1, 1], kernel_sizes=[[3], [13], [7]]
        )
    ),
    'convnext_1d_tiny': dict(arch=dict(channels=[16, 24, 32, 40], depths=[1, 1, 2, 1])),
    'convnext_tiny_dcls': dict(
        arch=dict(channels=[16, 24, 32, 40], depths=[1, 1, 2, 1])
    ),
    'rednet_26': dict(base_channels=16, stem_channels=32),
    'cednet_38': dict(base_channels=16, stem_channels=32),
    'flexnet_3': dict(channels=[8, 12, 8], stem_channels=8),
    'ccnn_4_140': dict(channels=[8, 12, 8]),
    'smp_resnet': dict(channels=[8, 12, 8], stem_channels=8),
}
EVERY = pytest.mark.parametrize('name', ONE_EACH)
# those of them that average maps before the norm
POOL_FIRST = ('unireplknet_a', 'convnext_1d_tiny', 'convnext_tiny_dcls')


def create(name, **kwargs):
    torch.manual_seed(0)
    return timm.create_model(name, **{**ONE_EACH[name], **kwargs})


def image(name, channels=3):
    side = 16 if timm.get_pretrained_cfg(name).input_size[1] == 32 else 64
    return torch.randn(2, channels, side, side)


def test_names():
    own = timm.list_models(module='timm_models')
    assert set(own) == set(PUBLISHED) and len(own) > 30
    assert timm.list_models('unireplknet_?') == [f'unireplknet_{a}' for a in 'abflnpst']
    assert not timm.list_pretrained('smpnet*')
    families = {re.split(r'[_-]', name)[0] for name in own}
    assert families == {re.split(r'[_-]', name)[0] for name in ONE_EACH}
    with pytest.raises(RuntimeError, match='No pretrained weights exist'):
        create('unireplknet_a', pretrained=True)


def test_data_are_those_of_the_configs():
    for name in (*ONE_EACH, 'unireplknet_s'):
        for tag, path in PUBLISHED[name].items():
            cfg, told = Config.fromfile(path), timm.get_pretrained_cfg(f'{name}.{tag}')
            assert told.num_classes == cfg.model.head.num_classes, path
            settings = preprocessor_of(cfg)
            for key, values in (('mean', told.mean), ('std', told.std)):
                assert settings[key] == pytest.approx([255 * v for v in values])
            loader = cfg.get('test_dataloader') or cfg.train_dataloader
            sides = [
                t.get('crop_size', t.get('scale'))
                for t in loader.dataset.pipeline
                if t.type in ('CenterCrop', 'Resize', 'RandomResizedCrop')
            ]
            assert told.input_size[1:] == (sides[-1] if sides else 32,) * 2, path
        assert timm.get_pretrained_cfg(name).tag == next(iter(PUBLISHED[name]))


@EVERY
def test_forward_and_backward(name):
    model = create(name, num_classes=7, drop_rate=0.1)
    assert model.num_classes == model.get_classifier().out_features == 7
    assert model.pretrained_cfg['architecture'] == name
    out = model(image(name))
    assert out.shape == (2, 7)
    out.square().mean().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
    model.eval()
    x = image(name)
    maps = model.forward_features(x)
    assert maps.shape[1] == model.num_features == model.feature_info[-1]['num_chs']
    assert torch.equal(model.forward_head(maps), model(x))
    pooled = model.forward_head(maps, pre_logits=True)
    assert torch.equal(model.get_classifier()(pooled), model(x))


@EVERY
def test_features(name):
    x = image(name)
    model = create(name).eval()
    final, maps = model.forward_intermediates(x)
    assert torch.equal(final, model.forward_features(x))
    features = create(name, features_only=True).eval()
    found = features(x)
    assert len(found) == len(maps) == len(model.feature_info)
    assert not any(key.startswith('model.head.fc') for key in features.state_dict())
    info = features.feature_info
    for i, (f, m) in enumerate(zip(found, maps)):
        assert f.shape[1] == info.channels(i)
        assert f.shape[2] == -(-x.shape[2] // info.reduction(i))
        assert_close(f, m, 1e-6)  # the same seed, the same weights
    two = create(name, features_only=True, out_indices=(0, -1)).eval()
    first, last = two(x)
    assert torch.equal(first, found[0]) and torch.equal(last, found[-1])
    assert two.feature_info.channels() == [info.channels(0), info.channels(-1)]
    (normed,) = model.forward_intermediates(x, 1, norm=True, intermediates_only=True)
    assert torch.equal(normed, final)
    with pytest.raises(ValueError, match="must be 'NCHW', got 'NLC'"):
        model.forward_intermediates(x, output_fmt='NLC')


@EVERY
def test_without_classifier(name):
    x = image(name, channels=1)
    model = create(name, in_chans=1).eval()
    model.reset_classifier(0)
    assert isinstance(model.get_classifier(), torch.nn.Identity)
    assert model(x).shape == (2, model.num_features)
    model.reset_classifier(0, '')
    assert model(x).dim() == 4
    model.reset_classifier(3, 'max')
    assert model(x).shape == (2, 3)
    same = create(name, in_chans=1, num_classes=0).eval()
    assert same(x).shape == (2, model.num_features)


@EVERY
def test_scores_are_those_of_mmpretrain(name, tmp_path):
    """A checkpoint of the config's classifier gives the same scores in timm."""
    cfg = Config.fromfile(next(iter(PUBLISHED[name].values())))
    cfg.model.backbone.update(ONE_EACH[name])
    if 'norm_cfg' in cfg.model.backbone:
        cfg.model.backbone.norm_cfg = dict(type='BN')
    model = create(name)
    cfg.model.head.in_channels = model.num_features
    theirs = build_model(cfg).eval()
    path = tmp_path / ('a.pth' if name in POOL_FIRST else 'a.safetensors')
    save(dict(state_dict=theirs.state_dict(), meta={}), path)
    ours = create(name, checkpoint_path=str(path)).eval()
    x = image(name)
    with torch.no_grad():
        assert_close(ours(x), theirs(x, mode='tensor'), 1e-6)
        before = ours(x)
        assert_close(switch_to_deploy(ours)(x), before, 1e-4)


@EVERY
def test_pooling_and_norm(name):
    model = create(name)
    inside = any(key.startswith('head.norm.') for key in model.state_dict())
    assert inside == (name in POOL_FIRST)


def test_arguments_of_the_backbone():
    model = create(
        'smpnet_tiny', kernel_cfg=dict(type='DenseKernel'), drop_path_rate=0.2
    )
    assert not any(isinstance(m, SMPKernel) for m in model.modules())
    rates = [m.drop_prob for m in model.modules() if hasattr(m, 'drop_prob')]
    assert max(rates) == pytest.approx(0.2)
    model.set_grad_checkpointing()
    assert all(stage.with_cp for stage in model.backbone.stages)
    with pytest.raises(TypeError, match='unexpected keyword argument'):
        create('smpnet_tiny', windows=3)


def test_kernels_train_by_their_rules():
    """Points do not decay, and radii stay in their range, as in our own trainings."""
    model = create('smpnet_tiny')
    skipped = model.no_weight_decay()
    kernels = [m for m in model.modules() if isinstance(m, SMPKernel)]
    assert len(skipped) == 2 * len(kernels)
    assert {key.rpartition('.')[2] for key in skipped} == {'coord', 'radius'}
    radius, limits = kernels[0].radius, kernels[0].radius_range
    with torch.no_grad():
        radius[0, 0] = -1
    model.eval()
    assert radius[0, 0].item() == pytest.approx(limits[0])
    model.train()
    with torch.no_grad():
        radius[0, 0] = 5
    model(image('smpnet_tiny'))
    assert radius[0, 0].item() == pytest.approx(limits[1])
