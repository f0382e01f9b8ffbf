import json

import pytest
import torch

from smpconv_mm.checkpoint import load, save
from smpconv_mm.convert.prune import prune_file
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model
from smpconv_mm.errors import CheckpointError
from smpconv_mm.layers import SMPKernel
from smpconv_mm.visualization import read_scalars


@pytest.fixture(scope='module')
def checkpoint(tiny_config, tmp_path_factory):
    """Of a model with a third of its points far outside."""
    torch.manual_seed(0)
    model = build_model(load_config(str(tiny_config)))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, SMPKernel):
                module.coord[:, ::3] += 9
    path = tmp_path_factory.mktemp('prune') / 'tiny.pth'
    save(
        dict(state_dict=model.state_dict(), optimizer=dict(), meta=dict(epoch=3)), path
    )
    return path


def test_tool(run_tool, tiny_config, checkpoint, tmp_path):
    tool = 'model_converters/prune_points.py'
    pruned = tmp_path / 'pruned.pth'
    out = run_tool(tool, tiny_config, checkpoint, pruned).stdout
    assert 'accuracy/top1' in out and 'parameters' in out
    before, after = load(checkpoint), load(pruned)
    assert after['meta']['epoch'] == 3 and 'optimizer' not in after
    points = [v.shape[1] for k, v in after['state_dict'].items() if 'coord' in k]
    assert points == [8, 4]  # of 12 and 6
    # the same accuracy, by the same config
    metrics = tmp_path / 'metrics.json'
    run_tool('test.py', tiny_config, pruned, '--work-dir', tmp_path, '--out', metrics)
    accuracy = f'{json.loads(metrics.read_text())["accuracy/top1"]:.2f}'
    (row,) = (line for line in out.splitlines() if 'accuracy/top1' in line)
    assert row.split('│')[2].strip() == row.split('│')[3].strip() == accuracy
    assert before['state_dict'].keys() == after['state_dict'].keys()

    config = tmp_path / 'finetune.py'
    config.write_text(
        f"""
_base_ = {str(tiny_config)!r}
load_from = {str(pruned)!r}
train_cfg = dict(max_epochs=1)
custom_hooks = [dict(type='EMAHook')]
"""
    )
    run_tool('train.py', config, '--work-dir', tmp_path / 'work')
    done = run_tool(
        'train.py',
        config,
        '--work-dir',
        tmp_path / 'work',
        '--resume',
        '--cfg-options',
        'train_cfg.max_epochs=2',
    )
    assert 'resumed epoch: 1' in done.stdout
    assert '6 entries of the model take their shape' in done.stdout
    assert set(dict(read_scalars(tmp_path / 'work')['accuracy/top1'])) == {1, 2}
    tuned = load(tmp_path / 'work' / 'epoch_2.pth')['state_dict']
    for key, value in after['state_dict'].items():
        assert tuned[key].shape == value.shape
        if key.endswith(('.coord', '.radius', '.weight')):
            assert not torch.equal(tuned[key], value), key


def test_threshold(tiny_config, checkpoint, tmp_path):
    cfg = load_config(str(tiny_config))
    dst = tmp_path / 'pruned.pth'
    report, before, after = prune_file(cfg, checkpoint, dst, 0.5, validate=False)
    assert [layer.before for layer in report] == [12, 6]
    assert all(layer.after < 2 * layer.before // 3 for layer in report)
    assert all(0 < layer.change < 1 for layer in report)
    assert all(layer.outside >= 1 / 3 for layer in report)
    saved = sum(
        (layer.before - layer.after) * (2 + 1 + 8) for layer in report
    )  # 2-D, 8 channels
    assert before.parameters - after.parameters == saved
    assert before.size - after.size >= 2 * saved and after.size == dst.stat().st_size
    assert before.metrics == after.metrics == {}


def test_refuses(tiny_config, checkpoint, tmp_path):
    cfg = load_config(str(tiny_config))
    with pytest.raises(ValueError, match='threshold must be at least 0, got -1'):
        prune_file(cfg, checkpoint, tmp_path / 'x.pth', -1, validate=False)
    cfg.model.backbone.arch.channels = [8, 16]
    cfg.model.head.in_channels = 16
    with pytest.raises(CheckpointError, match='does not fit the model'):
        prune_file(cfg, checkpoint, tmp_path / 'x.pth', validate=False)
    assert not (tmp_path / 'x.pth').exists()
    cfg = load_config(str(tiny_config), {'model.backbone.deploy': True})
    with pytest.raises(CheckpointError, match='does not fit the model'):
        prune_file(cfg, checkpoint, tmp_path / 'x.pth', validate=False)
