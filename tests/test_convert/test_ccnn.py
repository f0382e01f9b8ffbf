"""Files of the CCNN repository; values are compared in test_layers and test_models."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from smpconv_mm.checkpoint import load
from smpconv_mm.convert.ccnn import convert_ccnn, convert_layer
from smpconv_mm.engine.runner import build_model
from smpconv_mm.errors import CheckpointError

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / 'tests/golden/ccnn'
CONFIGS = ROOT / 'configs/ccnn'
# ours, and as the authors call it
NAMES = [
    (r'^backbone\.(stem|norm|blocks)', r'\1'),
    (r'^norm\.', 'out_norm.'),
    (r'^stem\.pointwise_conv\.bn', 'norm1'),
    (r'^stem\.', 'conv1.'),
    (r'^(blocks\.\d+)\.norm', r'\1.norm1'),
    (r'^(blocks\.\d+)\.conv\.', r'\1.conv1.'),
    (r'\.pointwise_conv\.conv', '.channel_mixer'),
    (r'\.depthwise_conv\.', '.'),
    (r'\.linear\.conv', '.linear1'),
    (r'\.shortcut\.conv', '.shortcut.0'),
    (r'\.kernel\.mask_(width|mean)', r'.mask_\1_param'),
    (r'\.kernel\._trained_size', '.train_length'),
    (r'\.kernel\.net\.output', '.Kernel.output_linear'),
    (r'\.kernel\.net\.', '.Kernel.'),
    (r'^head\.fc', 'out_layer'),
]


def in_their_names(model):
    """State dict of a classifier under its original names, and in their shapes."""
    ndim = model.backbone.ndim
    out = {}
    for name, value in model.state_dict().items():
        for ours, theirs in NAMES:
            name = re.sub(ours, theirs, name)
        if name.endswith('train_length'):
            value = value[:1].int()
            out[name.replace('train_length', 'initialized')] = torch.tensor([True])
            out[name.replace('train_length', 'mask_threshold')] = torch.tensor([0.1])
        pointwise = name.endswith('.weight') and value.dim() == 2
        if pointwise:
            value = value[(...,) + (None,) * ndim]
        out[name] = value.detach().clone()
    return out


def test_names_are_those_of_the_original():
    golden = torch.load(GOLDEN / 'ccnn2_8_1d.pt', weights_only=True)
    cfg = Config.fromfile(CONFIGS / 'ccnn-4-140_scifar10.py')
    cfg.model.backbone.update(channels=[8, 8], kernel_size=64)
    cfg.model.backbone.kernel_cfg.kernel_net.hidden_channels = 8
    cfg.model.head.update(in_channels=8, num_classes=5)
    original = in_their_names(build_model(cfg))
    assert {k: list(v.shape) for k, v in original.items()} == golden['shapes']


@pytest.mark.parametrize(
    'name, prefix',
    [
        ('ccnn-4-140_smnist', 'network.'),
        ('ccnn-4-140_cifar10', 'network.'),
        ('ccnn-6-380_lra-pathfinder-2d', ''),
    ],
)
def test_files(run_tool, name, prefix, tmp_path):
    config = CONFIGS / f'{name}.py'
    model = build_model(Config.fromfile(config))
    state = {prefix + k: v for k, v in in_their_names(model).items()}
    src, dst = tmp_path / 'original.ckpt', tmp_path / 'ours.pth'
    torch.save({'state_dict': state, 'pytorch-lightning_version': '1.6.0'}, src)
    tool = 'model_converters/ccnn_to_mm.py'
    out = run_tool(tool, src, dst, '--config', config, '--keys').stdout
    assert 'none unknown' in out and f'{prefix}out_layer.bias -> head.fc.bias' in out
    other = build_model(Config.fromfile(config), dst)
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
    assert load(dst)['meta']['converted_from'] == 'ccnn, model'
    wrong = CONFIGS / 'ccnn-4-140_scifar10.py'
    done = run_tool(tool, src, tmp_path / 'no.pth', '--config', wrong, check=False)
    assert done.returncode == 1 and 'does not fit the model' in done.stderr
    assert not (tmp_path / 'no.pth').exists()


def test_length_of_the_training_is_understood():
    golden = torch.load(GOLDEN / 'layer2d_aniso.pt', weights_only=True)
    state = golden['state_dict']
    key = 'depthwise_conv.kernel._trained_size'
    assert key not in convert_layer(state)  # not known yet
    state['train_length'] = torch.tensor([17], dtype=torch.int32)
    assert convert_layer(state)[key].tolist() == [17, 17]


def test_what_is_refused():
    golden = torch.load(GOLDEN / 'ccnn2_8_1d.pt', weights_only=True)
    state = golden['state_dict']
    old = {k: v for k, v in state.items() if 'initialized' not in k}  # before 2025
    assert set(convert_ccnn(old)[0]) == set(convert_ccnn(state)[0])
    state['blocks.1.conv1.initialized'] = torch.tensor([False])
    with pytest.raises(CheckpointError, match=r'blocks.1.conv1.initialized is False'):
        convert_ccnn(state)
    with pytest.raises(CheckpointError, match='conv1.Kernel.other'):
        convert_ccnn({**old, 'conv1.Kernel.other': torch.ones(1)})
    with pytest.raises(CheckpointError, match='it has no conv1'):
        convert_ccnn(dict(weight=torch.ones(1)))
