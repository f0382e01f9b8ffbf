"""Files of the FlexConv and CKConv repositories through the converter."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from smpconv_mm.checkpoint import load
from smpconv_mm.convert.flexconv import convert_flexconv, convert_layer
from smpconv_mm.engine.runner import build_model
from smpconv_mm.errors import CheckpointError
from smpconv_mm.layers import CKConv2d, FlexConv1d, FlexConv2d, FlexConv3d

CONFIGS = Path(__file__).parents[2] / 'configs/flexconv'


def original_net(state, ndim, norm_step=3):
    """Entries of a network of positions under their original names."""
    layers = sorted({int(k.split('.')[1]) for k in state if k.startswith('layers.')})
    step = norm_step if any(k.startswith('norms.') for k in state) else 2
    out = {}
    for key, value in state.items():
        name = key.replace('output.', f'layers.{len(layers)}.') if layers else key
        name = name.replace('linears.', 'linear.').replace('output.', 'output_linear.')
        name = re.sub(
            r'parametrizations\.weight\.original([01])',
            lambda m: f'weight_{"gv"[int(m[1])]}',
            name,
        )
        if match := re.match(r'(layers|norms)\.(\d+)', name):
            index = step * int(match[2]) + (match[1] == 'norms')
            name = f'kernel_net.{index}{name[match.end() :]}'
        if value.dim() == 2 and not name.endswith(('.mu', '.gamma')):
            value = value.reshape(*value.shape, *[1] * ndim)
        out[f'Kernel.{name}'] = value
    return out


def original_layer(layer, length):
    """Entries of a layer under their original names."""
    state = layer.state_dict()
    net = {
        k.removeprefix('kernel.net.'): v
        for k, v in state.items()
        if k.startswith('kernel.net.')
    }
    out = dict(bias=state['bias'], train_length=torch.tensor([length]).int())
    if 'kernel.mask_params' in state:
        out['mask_params'] = state['kernel.mask_params']
        out['temperature'] = torch.tensor([15.0])
        out['mask_threshold'] = torch.tensor([0.1])
    return {**out, **original_net(net, layer.ndim)}


LAYERS = [
    (FlexConv1d, dict(causal=True)),
    (FlexConv2d, dict(kernel_net=dict(steerable=True))),
    (FlexConv2d, dict(kernel_net=dict(type='GaborNet'))),
    (FlexConv2d, dict(kernel_net=dict(type='FourierNet'))),
    (FlexConv3d, dict(kernel_net=dict(type='NSIREN'))),
    (CKConv2d, dict(kernel_net=dict(type='SIREN', weight_norm=True))),
    (CKConv2d, dict(kernel_net=dict(type='SIREN', learn_omega_0=True, num_layers=4))),
    (CKConv2d, dict(kernel_net=dict(type='MLP'))),
    (CKConv2d, dict(kernel_net=dict(type='MLP', norm_cfg=None, num_layers=2))),
]


@pytest.mark.parametrize('kind, kwargs', LAYERS, ids=str)
@pytest.mark.parametrize('length', [0, 9])
def test_every_kind_of_layer(kind, kwargs, length):
    one, two = (kind(2, 3, 9, **kwargs) for _ in range(2))
    converted = convert_layer(original_layer(one, length))
    assert two.load_state_dict(converted) == ([], [])
    for key, value in one.state_dict().items():
        assert torch.equal(two.state_dict()[key], value), key
    assert ('kernel._trained_size' in converted) == (length == 9)


def test_length_of_the_training_is_understood():
    one, two = FlexConv2d(2, 3, 17), FlexConv2d(2, 3, 33)
    two.load_state_dict(convert_layer(original_layer(one, 17)))
    assert two.kernel.trained_size == (17, 17)
    assert two.kernel_size == (33, 33)
    assert two.kernel.scale() == 0.25


def test_omega_that_was_not_saved():
    """CKConv keeps it as a setting."""
    one = CKConv2d(2, 3, 9, kernel_net=dict(type='SIREN', omega_0=5.0))
    state = original_layer(one, 9)
    state = {k: v for k, v in state.items() if 'omega' not in k}
    two = CKConv2d(2, 3, 9, kernel_net=dict(type='SIREN', omega_0=7.0))
    two.load_state_dict(convert_layer(state))
    assert two.kernel.net.layers[0].omega_0 == 7


@pytest.mark.parametrize('net', ['Gabor', 'Fourier', 'SIREN', 'MLP'])
def test_unknown_entries(net):
    one = CKConv2d(2, 3, 9, kernel_net=dict(type=net + 'Net' * (net[1] in 'ao')))
    state = original_layer(one, 9)
    with pytest.raises(CheckpointError, match='Kernel.other'):
        convert_layer({**state, 'Kernel.other': torch.ones(1)})
    with pytest.raises(CheckpointError, match='it has no cconv1'):
        convert_flexconv(dict(weight=torch.ones(1)))
    wrong = {k: v.repeat(*[1] * (v.dim() - 1), 2) if v.dim() == 4 else v
             for k, v in state.items()}  # fmt: skip
    with pytest.raises(CheckpointError, match='expected kernels of one tap'):
        convert_layer(wrong)


def original_model(model, tcn):
    """State dict of a classifier under its original names."""
    out = {}
    layers = {
        name: module
        for name, module in model.backbone.named_modules()
        if name.endswith('.smp.conv')
    }
    blocks = 'backbone' if tcn else 'blocks'
    for name, layer in layers.items():
        if name.startswith('stem'):
            prefix = 'cconv1.'
        else:
            _, block, conv, *_ = name.split('.')
            prefix = f'{blocks}.{block}.c{conv}.'
        for key, value in original_layer(layer, layer.kernel_size[0]).items():
            out[prefix + key] = value
        norm = model.get_submodule('backbone.' + name.replace('.smp.conv', '.smp'))
        for key, value in norm.norm.state_dict().items():
            layer_norm = 'layer_norm.' if norm.norm_name == 'gn' else ''
            out[prefix.replace('cconv', 'norm') + layer_norm + key] = value
    for key, value in model.backbone.state_dict().items():
        if '.shortcut.' in key:
            _, block, _, end = key.split('.')
            out[f'{blocks}.{block}.shortcut.0.{end}'] = value
    head = 'finallyr' if tcn else 'out_layer'
    for end in ('weight', 'bias'):
        value = getattr(model.head.fc, end)
        if end == 'weight' and not tcn:
            value = value.reshape(*value.shape, *[1] * model.backbone.ndim)
        out[f'{head}.{end}'] = value
    return out


@pytest.mark.parametrize(
    'name',
    [
        'flexnet-3_1xb64_cifar10',
        'flex-tcn-2_1xb64_scifar10-noise-padded',
        'ck-tcn-2_1xb64_smnist',
        'ckcnn-100k_1xb64_smnist',
    ],
)
def test_files(run_tool, name, tmp_path):
    config = CONFIGS / f'{name}.py'
    model = build_model(Config.fromfile(config)).eval()
    state = original_model(model, 'tcn' in name or 'ckcnn' in name)
    src, dst = tmp_path / 'original.pt', tmp_path / 'ours.pth'
    prefixed = {f'module.{k}': v.detach().clone() for k, v in state.items()}
    torch.save(dict(model=prefixed, epoch=3), src)
    tool = 'model_converters/flexconv_to_mm.py'
    out = run_tool(tool, src, dst, '--config', config, '--keys')
    assert 'none unknown' in out.stdout
    assert 'finallyr.bias -> head.fc.bias' in out.stdout or 'out_layer' in out.stdout
    other = build_model(Config.fromfile(config), dst).eval()
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
    assert load(dst)['meta']['converted_from'] == 'flexconv, model'


def test_wrong_config_is_named(run_tool, tmp_path):
    model = build_model(Config.fromfile(CONFIGS / 'flexnet-3_1xb64_cifar10.py'))
    src = tmp_path / 'original.pt'
    torch.save(dict(model=original_model(model, False)), src)
    config = CONFIGS / 'flexnet-5_1xb64_cifar10.py'
    out = run_tool(
        'model_converters/flexconv_to_mm.py',
        src,
        tmp_path / 'ours.pth',
        '--config',
        config,
        check=False,
    )
    assert out.returncode == 1 and 'Traceback' not in out.stderr
    assert not (tmp_path / 'ours.pth').exists()
