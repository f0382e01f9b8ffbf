"""Sequence and CIFAR checkpoints of the original, rebuilt from names and shapes."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from tolerances import assert_close

from smpconv_mm.checkpoint import load, load_into
from smpconv_mm.convert.files import convert_smpconv_file
from smpconv_mm.errors import CheckpointError
from smpconv_mm.registry import MODELS

ROOT = Path(__file__).parents[2]
CONFIGS = {
    'smnist': 'smp-tcn_1xb64_smnist',
    'pmnist': 'smp-tcn_1xb64_pmnist',
    'scifar10': 'smp-tcn_1xb64_scifar10',
    'char': 'smp-tcn_1xb64_char-trajectories',
    'speech-mfcc': 'smp-tcn_1xb32_speech-commands-mfcc',
    'speech-raw': 'smp-tcn_1xb32_speech-commands-raw',
    'cifar10': 'smp-resnet_1xb64_cifar10',
}
# widths (input first), taps, points, small kernel, bias, classes, radius
SMALL_TCN = ((2, 5, 5, 4), 21, 6, 4, True, 7, 0.25)
SMALL_RESNET = ((3, 4, 4, 6), 9, 5, 3, False, 7, 0.5)
PUBLISHED = {
    'smnist': ((1, *[30] * 6), 784, 30, 5, False, 10, 0.002),
    'pmnist': ((1, *[30] * 6), 784, 30, 5, False, 10, 0.002),
    'scifar10': ((3, *[30] * 6), 1024, 30, 5, True, 10, 0.002),
    'char': ((3, *[30] * 6), 182, 30, 5, True, 20, 0.012),
    'speech-mfcc': ((20, *[30] * 6), 161, 30, 5, True, 10, 0.012),
    'speech-raw': ((1, *[30] * 6), 16000, 30, 5, False, 10, 0.0002),
    'cifar10': ((3, 24, 24, 24, 36, 36, 36, 48, 48), 33, 16, 3, False, 10, 0.12),
}


def original(widths, taps, points, small, bias, classes, radius, images=False):
    """State dict with the names and shapes of the original, random values."""
    g = torch.Generator().manual_seed(0)
    d = 2 if images else 1
    out = {}

    def rand(*shape, scale=1.0):
        return torch.randn(shape, generator=g) * scale

    def pair(prefix, n, i, o, small_bias=False):
        layer = f'{prefix}cconv{n}'
        if bias:
            out[f'{layer}.bias'] = rand(o)
        out[f'{layer}.train_length'] = torch.tensor([taps], dtype=torch.int32)
        out[f'{layer}.Kernel.weight_coord'] = rand(o, points, d, scale=0.5)
        size = (o, points, 1, 1)[: 2 + d]
        out[f'{layer}.Kernel.radius'] = radius * (torch.rand(size, generator=g) + 0.5)
        out[f'{layer}.Kernel.weights'] = rand(o, i, points, scale=0.3)
        out[f'{layer}s.weight'] = rand(o, i, *[small] * d, scale=0.3)
        if small_bias:
            out[f'{layer}s.bias'] = rand(o)
        for norm in (f'{prefix}norm{n}', f'{prefix}norm{n}s'):
            out[f'{norm}.weight'] = torch.rand(o, generator=g) + 0.5
            out[f'{norm}.bias'] = rand(o, scale=0.1)
            out[f'{norm}.running_mean'] = rand(o, scale=0.1)
            out[f'{norm}.running_var'] = torch.rand(o, generator=g) + 0.5
            out[f'{norm}.num_batches_tracked'] = torch.tensor(7)

    if images:
        pair('', 1, widths[0], widths[1], small_bias=True)
        widths = widths[1:]
    for b, (i, o) in enumerate(zip(widths, widths[1:])):
        block = f'blocks.{b}.' if images else f'backbone.{b}.'
        pair(block, 1, i, o)
        pair(block, 2, o, o)
        if i != o:
            out[f'{block}shortcut.0.weight'] = rand(o, i, *[1] * d)
            out[f'{block}shortcut.0.bias'] = rand(o)
    head = 'out_layer' if images else 'finallyr'
    out[f'{head}.weight'] = rand(classes, widths[-1], *([1, 1] if images else []))
    out[f'{head}.bias'] = rand(classes)
    return out


def original_forward(sd, x, images=False):
    """The original's networks in eval mode, written on their state dicts."""

    def norm(x, n):
        stats = ('running_mean', 'running_var', 'weight', 'bias')
        return F.batch_norm(x, *(sd[f'{n}.{s}'] for s in stats))

    def conv(x, w, bias=None):
        k = w.shape[-1]
        if images:
            return F.conv2d(x, w, bias, padding=k // 2)
        return F.conv1d(F.pad(x, (k - 1, 0)), w, bias)

    def kernel(n):
        k = int(sd[f'{n}.train_length'])
        grid = torch.linspace(-1, 1, k).double()
        c = sd[f'{n}.Kernel.weight_coord']  # (O, P, d)
        r = sd[f'{n}.Kernel.radius'].flatten(1)
        if images:  # x grows with the columns, y against the rows
            across = (c[..., 0, None] - grid).abs()[:, :, None, :]
            up = (c[..., 1, None] - grid.flip(0)).abs()[..., None]
            distance = across + up
            r = r[..., None, None]
        else:
            distance = (c - grid).abs()
            r = r[..., None]
        hat = (1 - distance / r).clamp(min=0)
        active = (hat != 0).double().sum(1, keepdim=True)
        total = torch.einsum('oip,op...->oi...', sd[f'{n}.Kernel.weights'], hat)
        return total * (1 / (active + 1e-6))

    def pair(x, prefix, n):
        layer = f'{prefix}cconv{n}'
        large = conv(x, kernel(layer), sd.get(f'{layer}.bias'))
        small = conv(x, sd[f'{layer}s.weight'], sd.get(f'{layer}s.bias'))
        return norm(large, f'{prefix}norm{n}') + norm(small, f'{prefix}norm{n}s')

    if images:
        x = F.relu(pair(x, '', 1))
    name = 'blocks' if images else 'backbone'
    for b in range(len({k.split('.')[1] for k in sd if k.startswith(f'{name}.')})):
        prefix = f'{name}.{b}.'
        z = pair(F.relu(pair(x, prefix, 1)), prefix, 2)
        if f'{prefix}shortcut.0.weight' in sd:
            shortcut = sd[f'{prefix}shortcut.0.weight'], sd[f'{prefix}shortcut.0.bias']
            x = conv(x, *shortcut)
        x = F.relu(z + x) if images else F.relu(F.relu(z) + x)
    if images:
        out = conv(x.mean((2, 3), keepdim=True), sd['out_layer.weight'])
        return out.flatten(1) + sd['out_layer.bias']
    return F.linear(x[..., -1], sd['finallyr.weight'], sd['finallyr.bias'])


def doubled(sd):
    return {k: v.double() if v.is_floating_point() else v for k, v in sd.items()}


def convert(sd, task, tmp_path):
    torch.save(dict(model=sd, optimizer={}, epoch=3), tmp_path / 'src.pth')
    return convert_smpconv_file(tmp_path / 'src.pth', tmp_path / 'dst.pth', task)


@pytest.mark.parametrize(
    'task, args, size',
    [
        ('smnist', SMALL_TCN, (21,)),
        ('char', SMALL_TCN, (13,)),
        ('speech-raw', SMALL_TCN, (50,)),
        ('cifar10', SMALL_RESNET, (11, 8)),
    ],
)
def test_logits_of_the_original(task, args, size, tmp_path):
    images = task == 'cifar10'
    sd = original(*args, images=images)
    report, source, config = convert(sd, task, tmp_path)
    assert source == 'model'
    assert f'{CONFIGS[task]}.py with ' in config
    # what the report says is what has to be changed in the config
    cfg = Config.fromfile(ROOT / config.split(' with ')[0])
    changes = config.split(' with ')[1].replace(', ', ',').split(' ')
    for change in changes:
        key, value = change.split('=')
        cfg.merge_from_dict({key: json.loads(value.lower())})
    model = MODELS.build(cfg.model).eval()
    load_into(model, tmp_path / 'dst.pth')
    g = torch.Generator().manual_seed(1)
    x = torch.randn(3, args[0][0], *size, dtype=torch.float64, generator=g)
    expected = original_forward(doubled(sd), x, images)
    with torch.no_grad():
        assert_close(model.double()(x, mode='tensor'), expected, 1e-10)
        assert_close(model.float()(x.float(), mode='tensor'), expected, 1e-4)


@pytest.mark.parametrize('task', PUBLISHED)
def test_published_networks_fit_their_configs(task, tmp_path):
    sd = original(*PUBLISHED[task], images=task == 'cifar10')
    entries = {'smnist': 184, 'pmnist': 184, 'speech-raw': 184, 'cifar10': 232}
    assert len(sd) == entries.get(task, 196)
    report, source, config = convert(sd, task, tmp_path)
    layers = 15 if task == 'cifar10' else 12
    assert (len(report.renamed), len(report.dropped)) == (len(sd) - layers, layers)
    assert config == f'configs/smpconv/{CONFIGS[task]}.py'
    cfg = Config.fromfile(ROOT / config)
    model = MODELS.build(cfg.model).eval()
    load_into(model, tmp_path / 'dst.pth')
    if task == 'char':  # one whole published network, on its own input
        x = torch.randn(2, 3, 182, dtype=torch.float64)
        with torch.no_grad():
            logits = model.double()(x, mode='tensor')
        assert_close(logits, original_forward(doubled(sd), x), 1e-10)


def test_permutation_is_kept(tmp_path):
    convert(original(*PUBLISHED['pmnist']), 'pmnist', tmp_path)
    order = load(tmp_path / 'dst.pth')['meta']['dataset_meta']['permutation']
    assert order[:8] == (693, 85, 647, 392, 765, 14, 299, 711)
    assert sorted(order) == list(range(784))


def test_kernels_that_never_ran_have_the_published_size(tmp_path):
    sd = original(*PUBLISHED['char'])
    for key in sd:
        if key.endswith('train_length'):
            sd[key].zero_()
    report, _, config = convert(sd, 'char', tmp_path)
    assert 'kernel_size' not in report.backbone and ' with ' not in config


@pytest.mark.parametrize(
    'task, change, message',
    [
        ('smnist', lambda sd: sd.update({'backbone.0.extra': torch.ones(1)}), 'extra'),
        ('smnist', lambda sd: sd.pop('backbone.1.norm2s.bias'), 'entries missing'),
        ('smnist', lambda sd: sd.pop('finallyr.weight'), 'no classification head'),
        (
            'smnist',
            lambda sd: sd['backbone.0.cconv2.train_length'].fill_(9),
            r'different sizes.*\[9, 21\]',
        ),
        ('cifar10', lambda sd: None, 'blocks.0.cconv1.Kernel.weights.*--task'),
        ('imagenet', lambda sd: None, 'prelkb_bn'),
    ],
)
def test_refuses_what_it_does_not_know(task, change, message, tmp_path):
    sd = original(*SMALL_TCN)
    change(sd)
    with pytest.raises(CheckpointError, match=message):
        convert(sd, task, tmp_path)
    assert not (tmp_path / 'dst.pth').exists()
