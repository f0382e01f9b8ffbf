from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch
from torch import nn

from smpconv_mm.checkpoint import load
from smpconv_mm.engine.hooks import PointTrackingHook
from smpconv_mm.layers import SMPConv1d, SMPConv3d
from smpconv_mm.registry import HOOKS
from smpconv_mm.visualization import read_scalars

LAYERS = ('stages.0.blocks.0', 'stages.1.blocks.0')


def config(tiny_config, folder, **kwargs):
    path = Path(folder) / 'tracked.py'
    hook = dict(type='smpconv_mm.PointTrackingHook', **kwargs)
    path.write_text(f'_base_ = {str(tiny_config)!r}\ncustom_hooks = [{hook}]\n')
    return path


def test_training_that_is_resumed(run_tool, tiny_config, tmp_path):
    """By the end it knows the whole way."""
    path = config(tiny_config, tmp_path, interval=2)
    for epochs in (2, 3):
        run_tool(
            'train.py',
            path,
            '--work-dir',
            tmp_path,
            '--resume',
            '--cfg-options',
            f'train_cfg.max_epochs={epochs}',
        )
    written = load(tmp_path / 'points' / 'points.pth')
    assert written['unit'] == 'epoch' and written['steps'] == [0, 2, 3]
    final = load(tmp_path / 'epoch_3.pth')['state_dict']
    scalars = read_scalars(tmp_path)
    for layer in LAYERS:
        values = written['history'][f'backbone.{layer}.large_kernel.smp.conv.kernel']
        coord, radius = values['coord'], values['radius']
        name = f'backbone.{layer}.large_kernel.smp.conv.kernel.'
        assert torch.equal(coord[-1], final[f'{name}coord'])
        assert torch.equal(radius[-1], final[f'{name}radius'])
        moved = dict(scalars[f'points/{layer}/moved'])
        assert list(moved) == [0, 2, 3] and moved[0] == 0
        for i, step in enumerate([0, 2, 3]):
            expected = (coord[i] - coord[0]).norm(dim=-1).mean()
            assert moved[step] == pytest.approx(float(expected))
        assert moved[3] > moved[2] > 0
        means = dict(scalars[f'points/{layer}/radius'])
        assert means[3] == pytest.approx(float(radius[-1].mean()))
        assert set(dict(scalars[f'points/{layer}/outside'])) == {0, 2, 3}
    assert cv2.imread(str(tmp_path / 'points' / 'points.png')).std() > 5
    assert {p.name for p in (tmp_path / 'points').iterdir()} == {
        'points.pth',
        'points.png',
    }


@pytest.fixture
def runner(tmp_path):
    seen = []
    return SimpleNamespace(
        model=nn.Sequential(
            SMPConv1d(2, 2, 9, causal=True, n_points=4), SMPConv3d(1, 2, 3, n_points=5)
        ),
        work_dir=str(tmp_path),
        epoch=0,
        max_epochs=1,
        iter=0,
        max_iters=7,
        logger=SimpleNamespace(info=seen.append),
        visualizer=SimpleNamespace(add_scalars=lambda s, step: seen.append((step, s))),
        seen=seen,
    )


def test_by_iterations(runner):
    hook = HOOKS.build(
        dict(type='smpconv_mm.PointTrackingHook', interval=3, by_epoch=False)
    )
    hook.before_train(runner)
    kernel = runner.model[0].kernel
    for runner.iter in range(7):
        with torch.no_grad():
            kernel.coord += 0.5
            kernel.radius += 0.01
        hook.after_train_iter(runner, batch_idx=runner.iter)
    hook.after_train_epoch(runner)
    records = [entry for entry in runner.seen if isinstance(entry, tuple)]
    assert [step for step, _ in records] == [0, 3, 6, 7]
    moved = [scalars['points/0/moved'] for _, scalars in records]
    assert moved == pytest.approx([0, 1.5, 3, 3.5], abs=1e-5)
    outside = [scalars['points/0/outside'] for _, scalars in records]
    assert outside[-1] == 1 and outside[0] < 1  # all to the right of the kernel
    assert records[-1][1]['points/1/moved'] == 0
    assert 'points at iteration 7: moved 1.750, outside' in runner.seen[-2]


def test_starts_anew_where_the_file_does_not_fit(runner):
    hook = PointTrackingHook()
    hook.before_train(runner)
    runner.epoch = 1
    runner.model = nn.Sequential(SMPConv1d(2, 2, 9, n_points=3))
    hook = PointTrackingHook()
    hook.before_train(runner)
    written = load(Path(runner.work_dir) / 'points' / 'points.pth')
    assert written['steps'] == [1] and list(written['history']) == ['0.kernel']


def test_refuses(runner):
    with pytest.raises(ValueError, match='interval must be at least 1, got 0'):
        PointTrackingHook(interval=0)
    runner.model = nn.Linear(1, 1)
    with pytest.raises(ValueError, match='Linear has no SMP kernels to follow'):
        PointTrackingHook().before_train(runner)
