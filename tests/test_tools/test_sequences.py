"""Sequence networks through the tools."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from smpconv_mm.checkpoint import load
from smpconv_mm.convert.files import reparameterize_file
from smpconv_mm.registry import MODELS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """The permuted digits config with a network and data for seconds."""
    path = tmp_path_factory.mktemp('config') / 'tiny.py'
    path.write_text(
        f"""
_base_ = {str(ROOT / 'configs/smpconv/smp-tcn_1xb64_permuted-digits.py')!r}
model = dict(backbone=dict(channels=[8], n_points=8), head=dict(in_channels=8))
train_dataloader = dict(dataset=dict(indices=192))
train_cfg = dict(max_epochs=1)
param_scheduler = [dict(type='ConstantLR', factor=1.0)]
"""
    )
    return path


def test_permuted_digits(run_tool, config, tmp_path):
    run_tool('train.py', config, '--work-dir', tmp_path)
    checkpoint = tmp_path / 'epoch_1.pth'
    order = load(checkpoint)['meta']['dataset_meta']['permutation']
    assert sorted(order) == list(range(64))

    out = tmp_path / 'metrics.json'
    run_tool('test.py', config, checkpoint, '--work-dir', tmp_path, '--out', out)
    assert json.loads(out.read_text())['accuracy/top1'] > 0
    seed = 'test_dataloader.dataset.permutation_seed=1'
    done = run_tool(
        'test.py',
        config,
        checkpoint,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        seed,
        check=False,
    )
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert f'trained on samples permuted to {order[0]}, ' in done.stderr
    assert 'set permutation_seed' in done.stderr


def test_deploy_form(config, tmp_path):
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'src.pth')
    reparameterize_file(config, tmp_path / 'src.pth', tmp_path / 'dst.pth')
    weight = 'backbone.blocks.0.conv1.smp.conv.weight'
    assert load(tmp_path / 'dst.pth')['state_dict'][weight].shape == (8, 1, 64)


def test_get_flops(run_tool, config):
    done = run_tool('analysis_tools/get_flops.py', config, '--shape', 64)
    assert '1 x 64' in done.stdout and 'Params: ' in done.stdout
