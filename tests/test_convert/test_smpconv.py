"""Checkpoints of the original, rebuilt from its published names and shapes."""

import argparse
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from tolerances import assert_close

from smpconv_mm import ops
from smpconv_mm.checkpoint import load, load_into
from smpconv_mm.convert import convert_smpconv
from smpconv_mm.convert.files import convert_smpconv_file
from smpconv_mm.errors import CheckpointError
from smpconv_mm.registry import MODELS

ROOT = Path(__file__).parents[2]
SMALL = dict(
    channels=[8, 16, 24, 32],
    depths=[1, 2, 1, 1],
    kernel_sizes=[13, 9, 7, 5],
    n_points=[42, 20, 12, 6],
)
TINY = dict(
    channels=[96, 192, 384, 768],
    depths=[2, 2, 8, 2],
    kernel_sizes=[31, 29, 27, 13],
    n_points=[240, 210, 182, 42],
)


def original(arch, classes=10, dw=1, ffn=4):
    """State dict with the names and shapes of the original, random values."""
    g = torch.Generator().manual_seed(0)
    out = {}

    def conv(name, *shape):
        fan = shape[1] * shape[2] * shape[3]
        out[f'{name}.conv.weight'] = torch.randn(shape, generator=g) * fan**-0.5

    def bn(name, c):
        out[f'{name}.weight'] = torch.rand(c, generator=g) + 0.5
        out[f'{name}.bias'] = torch.randn(c, generator=g) * 0.1
        out[f'{name}.running_mean'] = torch.randn(c, generator=g) * 0.1
        out[f'{name}.running_var'] = torch.rand(c, generator=g) + 0.5
        out[f'{name}.num_batches_tracked'] = torch.tensor(7)

    def conv_bn(name, o, i, k=1):
        conv(name, o, i, k, k)
        bn(f'{name}.bn', o)

    widths = arch['channels']
    conv_bn('stem.0', widths[0], 3, 3)
    conv_bn('stem.1', widths[0], 1, 3)
    conv_bn('stem.2', widths[0], widths[0])
    conv_bn('stem.3', widths[0], 1, 3)
    for s, c in enumerate(widths):
        k, p, d = arch['kernel_sizes'][s], arch['n_points'][s], int(c * dw)
        for b in range(arch['depths'][s]):
            name = f'stages.{s}.blocks.{2 * b}'
            bn(f'{name}.prelkb_bn', c)
            conv_bn(f'{name}.pw1', d, c)
            smp = f'{name}.large_kernel.smp'
            out[f'{smp}.conv.weight_coord'] = torch.randn(1, p, 2, generator=g) * 0.4
            out[f'{smp}.conv.radius'] = torch.rand(1, p, 1, 1, generator=g) * 0.4 + 0.1
            out[f'{smp}.conv.weights'] = torch.randn(1, d, p, generator=g) * 0.1
            axis = torch.linspace(-1, 1, k)
            out[f'{smp}.conv.kernel_coord'] = torch.stack(
                torch.meshgrid(axis, axis, indexing='ij')
            )[None]
            bn(f'{smp}.bn', d)
            conv_bn(f'{name}.large_kernel.small_conv', d, 1, 5)
            conv_bn(f'{name}.pw2', c, d)
            name = f'stages.{s}.blocks.{2 * b + 1}'
            bn(f'{name}.preffn_bn', c)
            conv_bn(f'{name}.pw1', int(c * ffn), c)
            conv_bn(f'{name}.pw2', c, int(c * ffn))
        if s + 1 < len(widths):
            conv_bn(f'transitions.{s}.0', widths[s + 1], c)
            conv_bn(f'transitions.{s}.1', widths[s + 1], 1, 3)
    bn('norm', widths[-1])
    out['head.weight'] = torch.randn(classes, widths[-1], generator=g)
    out['head.bias'] = torch.randn(classes, generator=g)
    return out


def original_forward(sd, x, depths):
    """The original's network in eval mode, written on its state dict."""

    def bn(x, n):
        stats = (
            sd[f'{n}.{k}'] for k in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return F.batch_norm(x, *stats)

    def cb(x, n, stride=1):
        w = sd[f'{n}.conv.weight']
        groups = x.shape[1] // w.shape[1]
        x = F.conv2d(x, w, None, stride, w.shape[-1] // 2, 1, groups)
        return bn(x, f'{n}.bn')

    def kernel(n):
        coord, radius = sd[f'{n}.weight_coord'][0], sd[f'{n}.radius'].reshape(-1)
        grid = sd[f'{n}.kernel_coord'][0]  # x at [i, j] = (g_i, g_j)
        d = (coord[:, :, None, None] - grid).abs().sum(1)
        h = (1 - d / radius[:, None, None]).clamp(min=0)
        k = torch.einsum('cp,pij->cij', sd[f'{n}.weights'][0], h)
        return k.transpose(1, 2).flip(1)[:, None]  # columns are x, rows point up

    for i, stride in enumerate([2, 1, 1, 2]):
        x = F.relu(cb(x, f'stem.{i}', stride))
    for s, depth in enumerate(depths):
        for b in range(depth):
            n = f'stages.{s}.blocks.{2 * b}'
            y = F.relu(cb(bn(x, f'{n}.prelkb_bn'), f'{n}.pw1'))
            k = kernel(f'{n}.large_kernel.smp.conv')
            large = ops.reference.depthwise_conv2d(y, k)
            y = bn(large, f'{n}.large_kernel.smp.bn') + cb(
                y, f'{n}.large_kernel.small_conv'
            )
            x = x + cb(F.relu(y), f'{n}.pw2')
            n = f'stages.{s}.blocks.{2 * b + 1}'
            x = x + cb(F.gelu(cb(bn(x, f'{n}.preffn_bn'), f'{n}.pw1')), f'{n}.pw2')
        if s + 1 < len(depths):
            x = F.relu(cb(x, f'transitions.{s}.0'))
            x = F.relu(cb(x, f'transitions.{s}.1', 2))
    x = bn(x, 'norm').mean((2, 3))
    return F.linear(x, sd['head.weight'], sd['head.bias'])


def classifier(arch, classes=10, **kwargs):
    return MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='smpconv_mm.SMPNet', arch=arch, **kwargs),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(
                type='LinearClsHead',
                num_classes=classes,
                in_channels=arch['channels'][-1],
            ),
        )
    ).eval()


@pytest.mark.parametrize(
    'ratios', [dict(), dict(dw=2, ffn=3)], ids=['published', 'other']
)
def test_logits_of_the_original(ratios, tmp_path):
    sd = original(SMALL, **ratios)
    torch.save(dict(state_dict=sd), tmp_path / 'src.pth')
    convert_smpconv_file(tmp_path / 'src.pth', tmp_path / 'dst.pth', 'imagenet')
    names = dict(dw='dw_ratio', ffn='ffn_ratio')
    model = classifier(SMALL, **{names[k]: v for k, v in ratios.items()})
    load_into(model, tmp_path / 'dst.pth')
    x = torch.randn(2, 3, 48, 40, dtype=torch.float64)
    expected = original_forward(
        {k: v.double() for k, v in sd.items()}, x, SMALL['depths']
    )
    with torch.no_grad():
        logits = model.double()(x, mode='tensor')
        # the original's grid is float32, ours too
        assert_close(logits, expected, 1e-10)
        model.float()
        assert_close(model(x.float(), mode='tensor'), expected, 1e-4)


def test_published_tiny_fits_its_config(tmp_path):
    sd = original(TINY, classes=1000)
    assert len(sd) == 753
    torch.save(dict(state_dict=sd, state_dict_ema=sd), tmp_path / 'src.pth')
    report, source, config = convert_smpconv_file(
        tmp_path / 'src.pth', tmp_path / 'dst.pth', 'imagenet'
    )
    assert (len(report.renamed), len(report.dropped)) == (739, 14)
    assert source == 'state_dict_ema'
    assert config == 'configs/smpconv/smpnet-tiny_4xb256_in1k.py'
    written = load(tmp_path / 'dst.pth')
    assert set(written) == {'state_dict', 'meta'}
    assert len(written['meta']['dataset_meta']['classes']) == 1000
    model = MODELS.build(Config.fromfile(ROOT / config).model)
    model.load_state_dict(written['state_dict'], strict=True)


def test_averaged_or_raw_weights(tmp_path):
    sd = original(SMALL)
    averaged = {
        k: v + 1 if v.is_floating_point() and 'kernel_coord' not in k else v
        for k, v in sd.items()
    }
    torch.save(
        dict(
            state_dict=sd,
            state_dict_ema=averaged,
            args=argparse.Namespace(lr=4e-3),  # timm keeps its command line
            optimizer=dict(state={}, param_groups=[]),
        ),
        tmp_path / 'src.pth',
    )
    for flag, expected in [(True, averaged), (False, sd)]:
        convert_smpconv_file(
            tmp_path / 'src.pth', tmp_path / 'dst.pth', 'imagenet', averaged=flag
        )
        written = load(tmp_path / 'dst.pth')['state_dict']
        assert torch.equal(
            written['head.fc.bias'] if 'head.fc.bias' in written else None,
            expected['head.bias'],
        )


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda sd: sd.update({'stages.0.blocks.0.extra': torch.ones(1)}), 'extra'),
        (lambda sd: sd.pop('stages.0.blocks.0.pw2.conv.weight'), 'pw2.conv.weight'),
        (
            lambda sd: sd.pop('stages.1.blocks.0.large_kernel.smp.conv.weight_coord'),
            'weight_coord',
        ),
        (lambda sd: sd.update({'head.weight': torch.ones(10, 5)}), 'of another shape'),
        (
            lambda sd: sd['stages.0.blocks.0.large_kernel.smp.conv.kernel_coord'].mul_(
                2
            ),
            'grid',
        ),
        (lambda sd: sd.clear() or sd.update(weight=torch.ones(2)), 'prelkb_bn'),
    ],
)
def test_refuses_what_it_does_not_know(change, message, tmp_path):
    sd = original(SMALL)
    change(sd)
    torch.save(dict(state_dict=sd), tmp_path / 'src.pth')
    with pytest.raises(CheckpointError, match=message):
        convert_smpconv_file(tmp_path / 'src.pth', tmp_path / 'dst.pth', 'imagenet')
    assert not (tmp_path / 'dst.pth').exists()


def test_unknown_task():
    with pytest.raises(ValueError, match="'cifar' is unknown.*imagenet"):
        convert_smpconv({}, 'cifar')


def test_command_line(run_tool, tmp_path):
    torch.save(original(SMALL), tmp_path / 'src.pth')
    tool = 'model_converters/smpconv_to_mm.py'
    files = (tmp_path / 'src.pth', tmp_path / 'dst.pth')
    done = run_tool(tool, *files, '--task', 'imagenet', '--keys')
    assert 'none unknown; loads strictly' in done.stdout
    assert "model.backbone.arch={'channels': [8, 16, 24, 32]" in done.stdout
    (tmp_path / 'bad.pth').write_bytes(b'no checkpoint')
    done = run_tool(tool, tmp_path / 'bad.pth', tmp_path / 'no.pth', check=False)
    assert done.returncode == 1
    assert 'not a PyTorch checkpoint' in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path / 'no.pth').exists()


def test_other_numbers_of_points_are_told(tmp_path):
    arch = dict(TINY, depths=[1, 1, 1, 1])
    torch.save(original(arch), tmp_path / 'src.pth')
    files = (tmp_path / 'src.pth', tmp_path / 'dst.pth', 'imagenet')
    assert 'n_points' in convert_smpconv_file(*files)[2]
    torch.save(original(dict(TINY, n_points=[9, 9, 9, 9])), tmp_path / 'src.pth')
    _, _, config = convert_smpconv_file(*files)
    assert "'n_points': [9, 9, 9, 9]" in config and 'head.num_classes=10' in config
