"""Every config in the tree is built."""

import re
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from modelindex.load_model_index import load as load_model_index
from structures import LargeOnMeta, structure

from smpconv_mm.apis.complexity import measure
from smpconv_mm.engine.config import drop_amp
from smpconv_mm.engine.runner import check_channels
from smpconv_mm.registry import MODELS

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    str(p.relative_to(ROOT))
    for p in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in p.parts
)


def build(cfg):
    """The model of a config, for its structure only."""
    with LargeOnMeta():
        return MODELS.build(cfg.model)


@pytest.fixture(scope='module')
def parameters():
    """Numbers of parameters by config, as the metafiles say."""
    return {entry.config: entry.metadata.parameters for entry in load_index()}


@pytest.mark.parametrize('path', CONFIGS)
def test_builds(path, parameters):
    """Model, pipelines, optimiser, schedules and hooks of a config."""
    from mmengine.registry import HOOKS, PARAM_SCHEDULERS, TRANSFORMS

    cfg = Config.fromfile(ROOT / path)
    if cfg.default_scope != 'mmpretrain':
        init_default_scope(cfg.default_scope)
    model = build(cfg)
    check_channels(model)
    if path not in VARIANTS:
        assert sum(p.numel() for p in model.parameters()) == parameters[path]
    init_default_scope(cfg.default_scope)
    # training on ImageNet-21k has no validation
    for phase in ('train',) if 'in21k' in path else ('train', 'val', 'test'):
        for transform in cfg[f'{phase}_dataloader'].dataset.pipeline:
            TRANSFORMS.build(transform)
    if '-amp-' in path:
        assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
        drop_amp(cfg)  # which needs a GPU
    optim = build_optim_wrapper(model, cfg.optim_wrapper)
    for scheduler in cfg.param_scheduler:
        default_args = dict(optimizer=optim)
        if scheduler.get('convert_to_iter_based'):
            default_args['epoch_length'] = 10
        PARAM_SCHEDULERS.build(scheduler, default_args=default_args)
    hooks = [*cfg.default_hooks.values(), *cfg.get('custom_hooks', [])]
    for hook in hooks:
        if hook['type'] != 'EMAHook' and 'Visualization' not in hook['type']:
            HOOKS.build(hook)
    assert 'atomic' in str(cfg.default_hooks.checkpoint.backend_args)
    # what an SMP network must not be trained without
    assert any(h['type'] == 'smpconv_mm.AfterStepHook' for h in hooks)
    named = dict(model.named_parameters())
    base = optim.optimizer.defaults['lr']
    for group in optim.optimizer.param_groups:
        name = next(n for n, p in named.items() if p is group['params'][0])
        if name.endswith('.radius'):
            rate = base * 0.1 * group.get('lr_scale', 1)  # of layer-wise decay
            assert group['initial_lr'] == pytest.approx(rate), name
        if name.endswith('.mask_params'):
            assert group['initial_lr'] == pytest.approx(base * 0.1), name
        if group['params'][0].ndim == 1 or name.endswith(('.radius', '.coord')):
            assert group['weight_decay'] == 0, name
        elif name.endswith('.weight') and not re.search('flexconv|ccnn', path):
            assert group['weight_decay'] > 0, name


@pytest.mark.parametrize('arch, batch', [('tiny', '4xb256'), ('base', '4xb128')])
def test_published_imagenet_recipe(arch, batch):
    cfg = Config.fromfile(ROOT / f'configs/smpconv/smpnet-{arch}_{batch}_in1k.py')
    model = build(cfg)
    parameters = dict(tiny=26_705_248, base=79_546_520)[arch]
    assert sum(p.numel() for p in model.parameters()) == parameters
    images = cfg.train_dataloader.batch_size * cfg.optim_wrapper.accumulative_counts
    assert 4 * images == 2048
    assert cfg.optim_wrapper.optimizer.lr == 4e-3
    assert cfg.train_cfg.max_epochs == 300
    assert cfg.model.backbone.drop_path_rate == dict(tiny=0.1, base=0.5)[arch]
    assert 'RandomFlip' not in str(cfg.train_dataloader)
    (ema,) = cfg.custom_hooks
    assert ema.momentum == 1e-4
    assert ema.interval == cfg.optim_wrapper.accumulative_counts
    assert cfg.optim_wrapper.type == 'OptimWrapper'  # float32 throughout


@pytest.mark.parametrize(
    'path',
    [
        'detection/mask-rcnn_smpnet-tiny_fpn_8xb2-amp-1x_coco.py',
        'detection/cascade-mask-rcnn_smpnet-tiny_fpn_8xb2-amp-3x_coco.py',
        'detection/cascade-mask-rcnn_smpnet-base_fpn_8xb2-amp-3x_coco.py',
        'detection/retinanet_smpnet-tiny_fpn_8xb2-1x_coco.py',
        'segmentation/smpnet-tiny_upernet_4xb4-amp-160k_ade20k-512x512.py',
        'segmentation/smpnet-base_upernet_4xb4-amp-160k_ade20k-512x512.py',
        'segmentation/smpnet-tiny_fpn_4xb4-80k_cityscapes-512x1024.py',
    ],
)
def test_names_of_downstream_recipes_are_true(path):
    """Number of GPUs, batch, length and size of a recipe, as in its name."""
    assert f'configs/{path}' in CONFIGS
    cfg = Config.fromfile(ROOT / 'configs' / path)
    gpus, batch = map(int, re.search(r'_(\d)xb(\d)-', path).groups())
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == gpus * batch
    backbone = cfg.model.backbone
    assert backbone.arch == re.search('smpnet-([a-z]+)', path).group(1)
    assert backbone.norm_cfg.type == 'SyncBN'
    assert backbone.init_cfg.checkpoint.endswith(f'smpnet-{backbone.arch}_in1k.pth')
    assert backbone.init_cfg.prefix == 'backbone.'
    epochs, iterations = re.search(r'-(?:(\d)x|(\d+)k)_', path).groups()
    if epochs:
        length = cfg.train_cfg.max_epochs
        assert length == 12 * int(epochs)
    else:
        length = cfg.train_cfg.max_iters
        assert length == 1000 * int(iterations)
        crop = re.search(r'-(\d+)x(\d+)\.py', path).groups()
        size = tuple(map(int, crop))
        assert cfg.model.data_preprocessor.size == size
        crops = [t for t in cfg.train_dataloader.dataset.pipeline if 'crop_size' in t]
        assert crops[0].crop_size == size
        assert [r.scale_factor for r in cfg.tta_pipeline[1].transforms[0]] == [
            0.5,
            0.75,
            1.0,
            1.25,
            1.5,
            1.75,
        ]
    assert cfg.param_scheduler[-1].end == length
    decays = 'layer_decay_rate' in cfg.optim_wrapper.paramwise_cfg
    assert decays == ('cascade' in path or 'upernet' in path)


@pytest.mark.parametrize('arch', ['tiny', 'base'])
@pytest.mark.parametrize('variant', ['1d', '1dpp', '2d', '2dpp'])
def test_recipes_of_oriented_kernels(variant, arch):
    """What sizes and variants share, and what they do not."""
    folder, name = ROOT / 'configs/oriented1d', f'convnext-{variant}-{arch}'
    classifier, detector, segmenter = (
        Config.fromfile(folder / path)
        for path in (
            f'{name}_32xb128_in1k.py',
            f'cascade-mask-rcnn_{name}_fpn_8xb2-3x_coco.py',
            f'{name}_upernet_4xb4-160k_ade20k-512x512.py',
        )
    )
    recipes = (
        (classifier, 128, 4096, 4e-3, dict(tiny=0.1, base=0.5)),
        (detector, 2, 16, 2e-4, dict(tiny=0.4, base=0.7)),
        (segmenter, 4, 16, 1e-4, dict(tiny=0.4, base=0.4)),
    )
    for cfg, batch, images, rate, drop_path in recipes:
        backbone = cfg.model.backbone
        assert (backbone.arch, backbone.variant) == (arch, variant)
        assert backbone.drop_path_rate == drop_path[arch]
        assert cfg.train_dataloader.batch_size == batch
        assert cfg.auto_scale_lr.base_batch_size == images
        optimizer = cfg.optim_wrapper.optimizer
        assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == (
            'AdamW',
            rate,
            0.05,
        )
        assert cfg.optim_wrapper.type == 'OptimWrapper'  # float32 throughout
        if cfg is not classifier:
            assert backbone.layer_scale_init_value == 1
            assert backbone.init_cfg.checkpoint.endswith(f'{name}_backbone.pth')
    ends = [[s.end for s in cfg.param_scheduler] for cfg, *_ in recipes]
    assert ends == [[20, 300], [500, 36], [1500, 160000]]
    assert detector.param_scheduler[1].milestones == [27, 33]


@pytest.mark.parametrize(
    'name, rate, warmup, clip',
    [
        ('faster-rcnn_rednet-50_fpn', 0.02, 500, None),
        ('faster-rcnn_rednet-50_involution-fpn', 0.02, 2000, None),
        ('faster-rcnn_rednet-50_involution-fpn-head', 0.02, 2000, 5),
        ('mask-rcnn_rednet-50_fpn', 0.02, 500, None),
        ('mask-rcnn_rednet-50_involution-fpn', 0.02, 2000, None),
        ('mask-rcnn_rednet-50_involution-fpn-head', 0.02, 2000, 5),
        ('retinanet_rednet-50_fpn', 0.01, 2000, None),
        ('retinanet_rednet-50_involution-fpn', 0.01, 2000, 40),
        ('faster-rcnn_cednet-50_cvolution-fpn', 0.02, 2000, None),
        ('mask-rcnn_cednet-50_cvolution-fpn', 0.02, 2000, None),
    ],
)
def test_recipes_of_involution_detectors(name, rate, warmup, clip):
    path = ROOT / f'configs/involution/{name}_8xb2-1x_coco.py'
    cfg = Config.fromfile(path)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('SGD', rate, 1e-4)
    assert cfg.param_scheduler[0].end == warmup
    assert cfg.param_scheduler[1].milestones == [8, 11]
    clipping = cfg.optim_wrapper.get('clip_grad')
    assert (clipping and clipping.max_norm) == clip
    backbone = cfg.model.backbone
    assert backbone.type == f'smpconv_mm.{"CedNet" if "cednet" in name else "RedNet"}'
    assert (backbone.frozen_stages, backbone.norm_eval) == (1, True)
    neck = cfg.model.neck
    assert neck.type == (
        'FPN' if name.endswith('50_fpn') else 'smpconv_mm.InvolutionFPN'
    )
    if 'cvolution' in name:
        assert neck.involution_cfg.type == 'smpconv_mm.CVolution2d'


def test_parameter_groups_of_tiny():
    """Numbers of the original's four groups."""
    cfg = Config.fromfile(ROOT / 'configs/smpconv/smpnet-tiny_4xb256_in1k.py')
    init_default_scope('mmpretrain')
    model = build(cfg)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    found = {}
    for group in groups:
        key = (group['lr'], group['weight_decay'])
        tensors, elements = found.get(key, (0, 0))
        found[key] = (
            tensors + len(group['params']),
            elements + sum(p.numel() for p in group['params']),
        )
    assert found == {
        (4e-3, 0.05): (95, 26_575_200),
        (4e-3, 0.0): (247 + 14, 122_728 + 4_880),
        (4e-4, 0.0): (14, 2_440),
    }


def test_learning_rate_of_the_published_recipe():
    """Warm-up from 0 over ten epochs, both ends included, then half a cosine."""
    cfg = Config.fromfile(ROOT / 'configs/smpconv/smpnet-tiny_4xb256_in1k.py')
    steps = 5  # iterations an epoch
    found = rates(cfg, 4e-3, steps, 300 * steps).float()
    warm = 10 * steps
    expected = torch.cat(
        [
            torch.linspace(0, 4e-3, warm),
            1e-6
            + (4e-3 - 1e-6)
            * (1 + torch.cos(torch.pi * torch.arange(290 * steps) / (290 * steps)))
            / 2,
        ]
    )
    assert torch.allclose(found, expected, atol=1e-8, rtol=1e-4)


# parameters, learning rate, epochs and those of the warm-up
SEQUENCES = {
    'smp-tcn_1xb64_smnist': (370_960, 1e-4, 200, 5),
    'smp-tcn_1xb64_pmnist': (370_960, 1e-4, 200, 5),
    'smp-tcn_1xb64_scifar10': (373_480, 2e-4, 200, 5),
    'smp-tcn_1xb64_char-trajectories': (373_790, 1e-4, 300, 5),
    'smp-tcn_1xb32_speech-commands-mfcc': (391_840, 2e-3, 300, 5),
    'smp-tcn_1xb32_speech-commands-raw': (370_960, 1e-3, 160, 10),
    'smp-resnet_1xb64_cifar10': (489_646, 5e-3, 210, 10),
}


@pytest.mark.parametrize('name', SEQUENCES)
def test_published_sequence_recipe(name):
    parameters, rate, epochs, warmup = SEQUENCES[name]
    steps = 100  # an epoch
    cfg = Config.fromfile(ROOT / f'configs/smpconv/{name}.py')
    model = build(cfg)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert f'1xb{cfg.train_dataloader.batch_size}_' in name
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == (
        'Adam',
        rate,
        1e-5,
    )
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.randomness.seed == 0
    assert cfg.optim_wrapper.get('clip_grad') is None

    # the published rate at each step s, with W = warm-up and T = other steps
    published = []
    warm, rest = warmup * steps, (epochs - warmup) * steps
    top = rate * (warm + 1) / warm
    s = torch.arange(epochs * steps, dtype=torch.float64)
    cosine = 1 + torch.cos(torch.pi * (s - warm - 1) / rest)
    published = torch.where(s <= warm + 1, rate * s / warm, 1e-6)
    published[warm + 2 :] += (top - 1e-6) * cosine[warm + 2 :] / 2
    ours = rates(cfg, rate, steps, epochs * steps)
    assert (ours - published).abs().max() < 2 * rate / warm


def rates(cfg, rate, steps, number):
    from mmengine.registry import PARAM_SCHEDULERS

    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    schedulers = [
        PARAM_SCHEDULERS.build(
            s, default_args=dict(optimizer=optimizer, epoch_length=steps)
        )
        for s in cfg.param_scheduler
    ]
    found = []
    for _ in range(number):
        found.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return torch.tensor(found, dtype=torch.float64)


# learning rate, "weight decay", epochs and those of the warm-up, batch, omega_0,
# initial width of the mask, kernel_size, rates of dropout
CCNN = {
    '4-140_smnist': (0.01, 1e-6, 210, 10, 100, 2976.49, 0.075, 784, 0.1, 0),
    '6-380_smnist': (0.01, 1e-6, 210, 10, 100, 2976.49, 0.075, 784, 0.1, 0),
    '4-140_pmnist': (0.02, 0, 210, 10, 100, 2985.63, 0.075, 784, 0, 0.2),
    '6-380_pmnist': (0.02, 0, 210, 10, 100, 2985.63, 0.075, 784, 0, 0.2),
    '4-140_scifar10': (0.02, 0, 210, 10, 50, 2386.49, 0.075, 1024, 0, 0),
    '6-380_scifar10': (0.01, 0, 210, 10, 50, 4005.15, 0.075, 1024, 0.25, 0),
    '4-140_speech-commands-mfcc': (
        *(0.02, 1e-6, 110, 10, 100, 750.18, 0.075, 161, 0.2, 0),
    ),
    '6-380_speech-commands-mfcc': (
        *(0.02, 1e-6, 160, 10, 10, 1295.61, 0.075, 161, 0.2, 0),
    ),
    '4-140_speech-commands-raw': (
        *(0.02, 1e-6, 160, 10, 20, 1295.61, 0.075, 16000, 0.2, 0),
    ),
    '6-380_speech-commands-raw': (
        *(0.02, 1e-6, 160, 10, 40, 1295.61, 0.075, 16000, 0.2, 0),
    ),
    '4-140_cifar10': (0.02, 1e-4, 350, 5, 64, 4231.57, 0.75, 33, 0.1, 0),
    '6-380_cifar10': (0.01, 0, 210, 10, 50, 976.78, 0.075, 33, 0.15, 0),
    '4-140_cifar100': (0.02, 1e-4, 210, 10, 50, 3521.55, 0.075, 33, 0.1, 0),
    '6-380_cifar100': (0.02, 0, 210, 10, 50, 679.14, 0.075, 31, 0.2, 0),
    '4-140_stl10': (0.02, 0, 210, 10, 64, 954.28, 0.075, 33, 0.1, 0),
    '6-380_stl10': (0.01, 0, 210, 10, 48, 954.28, 0.075, 31, 0.1, 0),
    '4-140_lra-listops': (0.001, 1e-6, 60, 10, 50, 784.65, 0.03, 2048, 0.1, 0),
    '6-380_lra-listops': (0.001, 0, 60, 10, 50, 784.65, 0.03, 2048, 0.25, 0),
    '4-140_lra-text': (0.001, 1e-5, 60, 10, 50, 2966.6, 0.015, 4096, 0.2, 0),
    '6-380_lra-text': (0.02, 0, 60, 10, 25, 2966.6, 0.03, 4096, 0.3, 0),
    '4-140_lra-image': (0.01, 0, 210, 10, 50, 4005.15, 0.075, 1024, 0.1, 0),
    '6-380_lra-image': (0.01, 0, 210, 10, 50, 4005.15, 0.075, 1024, 0.1, 0),
    '4-140_lra-image-2d': (0.02, 1e-6, 210, 10, 50, 2085.43, 0.075, 33, 0.2, 0),
    '6-380_lra-image-2d': (0.02, 0, 210, 10, 50, 2306.08, 0.075, 33, 0.2, 0),
    '4-140_lra-pathfinder': (0.01, 0, 210, 10, 100, 2272.56, 0.4, 1024, 0.2, 0),
    '6-380_lra-pathfinder': (0.01, 1e-6, 210, 10, 100, 2272.56, 0.4, 1024, 0.1, 0),
    '4-140_lra-pathfinder-2d': (0.01, 0, 210, 10, 100, 1239.14, 0.225, 33, 0.1, 0),
    '6-380_lra-pathfinder-2d': (0.01, 0, 210, 10, 50, 3908.32, 0.225, 33, 0.2, 0),
}


@pytest.mark.parametrize('name', CCNN)
def test_recipes_of_ccnn(name):
    cfg = Config.fromfile(ROOT / f'configs/ccnn/ccnn-{name}.py')
    backbone, kernel = cfg.model.backbone, cfg.model.backbone.kernel_cfg
    optimizer = cfg.optim_wrapper.optimizer
    warmup, cosine = cfg.param_scheduler
    found = (
        optimizer.lr,
        sum(loss.loss_weight for loss in cfg.model.kernel_losses),
        cfg.train_cfg.max_epochs,
        warmup.end,
        cfg.train_dataloader.batch_size,
        round(kernel.kernel_net.omega_0, 2),
        kernel.mask_init,
        backbone.kernel_size,
        backbone.get('dropout', 0),
        backbone.get('input_dropout', 0),
    )
    assert found == CCNN[name]
    assert (cosine.begin, cosine.end) == (warmup.end, cfg.train_cfg.max_epochs)
    assert (optimizer.type, optimizer.weight_decay) == ('AdamW', 0)
    assert cfg.auto_scale_lr.base_batch_size == cfg.train_dataloader.batch_size
    blocks, channels = map(int, re.match(r'(\d)-(\d+)_', name).groups())
    assert backbone.channels == [channels] * blocks
    wide = channels == 380 and 'listops' not in name
    assert kernel.kernel_net.hidden_channels == (64 if wide else 32)
    single = re.search('stl10|listops|text', name)
    assert backbone.get('drop_channels', True) == (not single)
    rules = cfg.optim_wrapper.get('paramwise_cfg')
    assert bool(rules) == bool(re.search('_cifar10$|listops|4-140_lra-text', name))
    counts = cfg.optim_wrapper.get('accumulative_counts', 1)
    assert counts == {'4-140_stl10': 4, '6-380_stl10': 2}.get(name, 1)
    augmented = 'RandomCrop' in str(cfg.train_dataloader.dataset.pipeline)
    sets = r'_cifar10$|_stl10$|4-140_scifar10'
    assert augmented == bool(re.search(sets, name))
    assert 'RandomCrop' not in str(cfg.val_dataloader.dataset.pipeline)


def test_learning_rate_of_ccnn():
    """The original's, but for a fault: what it has above the base rate."""
    cfg = Config.fromfile(ROOT / 'configs/ccnn/ccnn-4-140_pmnist.py')
    golden = torch.load(ROOT / 'tests/golden/ccnn/schedule.pt', weights_only=True)
    published = golden['10_20_4200']  # epochs of warm-up, steps an epoch, steps
    found = rates(cfg, 0.02, 20, 4200)
    assert published[-1] == 0 and found[0] == published[0] == 2e-10
    assert (found - published).abs().max() < 0.02 * 0.0062
    assert found.max() == pytest.approx(0.02, rel=1e-6)


def test_parameter_groups_of_smnist():
    """Numbers of the original's three groups."""
    cfg = Config.fromfile(ROOT / 'configs/smpconv/smp-tcn_1xb64_smnist.py')
    init_default_scope('mmpretrain')
    model = build(cfg)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    found = {}
    for group in groups:
        key = (group['lr'], group['weight_decay'])
        found[key] = found.get(key, 0) + len(group['params'])
    assert found == {(1e-4, 1e-5): 26, (1e-4, 0.0): 62, (1e-5, 0.0): 12}


@pytest.mark.parametrize(
    'name, images, rate, epochs, drop_path',
    [
        ('a_4xb128_in1k', 4096, 4e-3, 300, 0.0),
        ('f_4xb128_in1k', 4096, 4e-3, 300, 0.0),
        ('p_4xb128_in1k', 4096, 4e-3, 300, 0.1),
        ('n_4xb128_in1k', 4096, 4e-3, 300, 0.1),
        ('t_4xb128_in1k', 4096, 4e-3, 300, 0.2),
        ('s_4xb128_in1k', 4096, 4e-3, 300, 0.4),
        ('s_16xb32_in21k', 4096, 4e-3, 90, 0.1),
        ('b_16xb32_in21k', 4096, 4e-3, 90, 0.1),
        ('l_16xb64_in21k', 4096, 1e-3, 90, 0.1),
        ('xl_32xb32_in21k', 4096, 1e-3, 90, 0.2),
        ('s_4xb64_in1k-384px', 512, 5e-5, 30, 0.2),
        ('b_4xb64_in1k-384px', 512, 5e-5, 30, 0.2),
        ('l_4xb64_in1k-384px', 512, 5e-5, 20, 0.3),
        ('xl_8xb32_in1k-384px', 512, 5e-5, 20, 0.3),
    ],
)
def test_recipes_of_unireplknet(name, images, rate, epochs, drop_path):
    cfg = Config.fromfile(ROOT / f'configs/unireplknet/unireplknet-{name}.py')
    arch, gpus, batch = re.match(r'(\w+)_(\d+)xb(\d+)_', name).groups()
    assert cfg.model.backbone.arch == arch
    assert cfg.model.backbone.drop_path_rate == drop_path
    assert cfg.train_dataloader.batch_size == int(batch)
    step = int(gpus) * int(batch)
    assert cfg.auto_scale_lr.base_batch_size == step
    assert step * cfg.optim_wrapper.accumulative_counts == images
    assert cfg.optim_wrapper.optimizer.lr == rate
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[-1].end == epochs
    averaged = name.startswith(('l_4', 'xl_8'))
    assert bool(cfg.get('custom_hooks')) == averaged
    crop = next(t for t in cfg.train_dataloader.dataset.pipeline if 'scale' in t)
    small = name.startswith(('l_16', 'xl_32'))
    assert crop.scale == (384 if '384' in name else 192 if small else 224)


# other trainings of a model that is there
VARIANTS = {path for path in CONFIGS if re.search('-(ablation|fsdp)[._]|_custom', path)}


@cache
def load_index():
    """The metafiles, as the field's tools read them."""
    index = load_model_index(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    return index.models


def test_model_index():
    """Every model is there once, with what is known of it."""
    entries = load_index()
    assert {entry.config for entry in entries} == {*CONFIGS} - VARIANTS
    names = [entry.name for entry in entries]
    assert len({*names}) == len(names)
    for entry in entries:
        if entry.metadata.flops:
            cfg = Config.fromfile(ROOT / entry.config)
            model = structure(MODELS.build, cfg.model)
            side = 224 if 'in1k' in entry.name else 32
            assert entry.metadata.flops == measure(model, (3, side, side)).total
        for result in entry.results or ():
            if result.task == 'Image Classification':
                low = 24 if re.search('flexconv|listops', entry.config) else 66
                assert result.metrics['Top 1 Accuracy'] > low
        # nobody has trained the detectors and segmenters of SMPNet yet, some of CedNet
        # and of sequence networks
        untrained = 'configs/(detection|segmentation)/|_cednet-50_|/(flex-|ck)|in21k'
        assert entry.results or re.search(untrained, entry.config)
