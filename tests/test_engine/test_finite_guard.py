"""A training that diverges stops, and weights that are not finite are not used."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.optim import AmpOptimWrapper
from torch import nn

from smpconv_mm.checkpoint import load, save
from smpconv_mm.engine.hooks import FiniteGuardHook
from smpconv_mm.errors import UsageError


def error_of(done):
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith('error: '), done.stderr[-1500:]
    return last


@pytest.fixture
def options(tmp_path):
    return (
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'train_dataloader.dataset.indices=64',
        'train_dataloader.batch_size=32',
    )


def test_stops_where_the_loss_is_not_finite(run_tool, tiny_config, options, tmp_path):
    rate = 'optim_wrapper.optimizer.lr=1e30'
    message = error_of(run_tool('train.py', tiny_config, *options, rate, check=False))
    assert 'training diverged at iteration 2 (epoch 1): loss is nan' in message
    assert 'first weight that is not finite is backbone.' in message
    assert 'learning rate is 1e+30' in message
    assert not list(tmp_path.glob('*.pth'))


def test_weights_that_are_not_finite_are_refused(
    run_tool, tiny_config, options, tmp_path
):
    run_tool('train.py', tiny_config, *options, 'train_cfg.max_epochs=1')
    path = tmp_path / 'epoch_1.pth'
    checkpoint = load(path)
    checkpoint['state_dict']['head.fc.bias'][3] = torch.nan
    save(checkpoint, path)
    cv2.imwrite(str(tmp_path / 'image.png'), np.zeros((32, 32, 3), np.uint8))
    where = ('--work-dir', tmp_path / 'test')
    start = ('--work-dir', tmp_path / 'new', '--cfg-options', f'load_from={path}')
    for args in (
        ('train.py', tiny_config, '--resume', path, *where),
        ('train.py', tiny_config, *start),
        ('test.py', tiny_config, path, *where),
        ('predict.py', tiny_config, path, tmp_path / 'image.png'),
    ):
        message = error_of(run_tool(*args, check=False))
        assert f'{path}: head.fc.bias is not finite' in message


def runner_of(model, optim_wrapper):
    optim_wrapper.get_lr = lambda: dict(lr=[0.1])
    return SimpleNamespace(
        model=model, optim_wrapper=optim_wrapper, iter=6, epoch=2, work_dir='w'
    )


def test_no_weights_are_saved_that_are_not_finite():
    """The last step of a training can spoil them after its loss was finite."""
    model, hook = nn.Linear(2, 3), FiniteGuardHook()
    runner = runner_of(model, SimpleNamespace())
    hook.before_save_checkpoint(runner, dict(state_dict=model.state_dict()))
    nn.init.constant_(model.weight, torch.inf)
    with pytest.raises(UsageError, match='weights are not finite; .* is weight. The'):
        hook.before_save_checkpoint(runner, dict(state_dict=model.state_dict()))


def test_steps_that_mixed_precision_leaves_out():
    model, hook = nn.Linear(2, 3), FiniteGuardHook()
    scaling = AmpOptimWrapper.__new__(AmpOptimWrapper)  # a new one asks for a GPU
    runner = runner_of(model, scaling)
    bad, good = dict(loss=torch.tensor(torch.inf)), dict(loss=torch.tensor(1.0))
    for outputs in [*[bad] * 9, good, *[bad] * 9]:
        hook.after_train_iter(runner, 0, outputs=outputs)
    with pytest.raises(UsageError, match='iteration 7 .epoch 3.: loss is inf. The'):
        hook.after_train_iter(runner, 0, outputs=bad)
    hook.after_train_iter(runner, 0, outputs=good)
    nn.init.constant_(model.bias, torch.nan)
    with pytest.raises(UsageError, match='first weight that is not finite is bias'):
        hook.after_train_iter(runner, 0, outputs=bad)


def test_only_losses_have_to_be_finite():
    """A segmenter's accuracy is NaN where a batch has no label."""
    runner = runner_of(nn.Linear(2, 3), SimpleNamespace())
    hook = FiniteGuardHook()
    outputs = dict(loss=torch.tensor(1.0), acc_seg=torch.tensor(torch.nan))
    hook.after_train_iter(runner, 0, outputs=outputs)
    with pytest.raises(UsageError, match='decode.loss_ce is nan'):
        outputs = {'loss': torch.tensor(1.0), 'decode.loss_ce': torch.tensor(torch.nan)}
        hook.after_train_iter(runner, 0, outputs=outputs)
