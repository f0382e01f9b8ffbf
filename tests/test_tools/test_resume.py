"""Training that goes on: from which checkpoints, with which files, to what end."""

import shutil
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner, ValLoop
from mmpretrain.models import ImageClassifier

from smpconv_mm.checkpoint import load, save
from smpconv_mm.visualization import read_scalars

BEST = 'best_accuracy_top1_epoch_{}.pth'


@pytest.fixture(scope='module')
def run(run_tool, tiny_config):
    """Train by tools/train.py on one batch an epoch; returns what it wrote."""

    def train(folder, epochs, *args, options=(), check=True, config=tiny_config):
        return run_tool(
            'train.py',
            config,
            '--work-dir',
            folder,
            *args,
            '--cfg-options',
            'train_dataloader.dataset.indices=64',
            f'train_cfg.max_epochs={epochs}',
            *options,
            check=check,
        )

    return train


@pytest.fixture
def train(run, tmp_path):
    """The same in a folder of the test."""
    return lambda folder, *args, **kwargs: run(tmp_path / folder, *args, **kwargs)


@pytest.fixture(scope='module')
def one_epoch(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp('one_epoch')
    run(folder, 1)
    forget_score(folder / 'epoch_1.pth')
    return folder


@pytest.fixture
def a(one_epoch, tmp_path):
    """Work dir of a training of one epoch, after which any validation is the best."""
    return shutil.copytree(one_epoch, tmp_path / 'a')


def names(folder):
    return {path.name for path in folder.iterdir() if path.is_file()}


def forget_score(path):
    """Let the next validation be the best one."""
    checkpoint = load(path)
    checkpoint['message_hub']['runtime_info']['best_score'] = -1.0
    save(checkpoint, path)


def error_of(done):
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith('error: '), done.stderr[-1500:]
    return last


def test_a_run_deletes_only_its_own_files(train, one_epoch, a, tmp_path):
    before, b = names(one_epoch), tmp_path / 'b'
    assert BEST.format(1) in before
    done = train('b', 2, '--resume', one_epoch / 'epoch_1.pth')
    assert f'the best checkpoint so far is {one_epoch / BEST.format(1)}' in done.stdout
    assert names(one_epoch) == before
    assert BEST.format(2) in names(b)
    # a work dir that was copied replaces its own file
    train('a', 2, '--resume')
    assert names(one_epoch) == before
    assert BEST.format(2) in names(a) and BEST.format(1) not in names(a)


def test_a_best_checkpoint_that_was_lost(train, a):
    (a / BEST.format(1)).unlink()
    done = train('a', 2, '--resume')
    assert 'does not exist; the best of those to come' in done.stdout
    assert BEST.format(2) in names(a)


class Killed(Exception):
    pass


def test_killed_in_a_validation(train, a, monkeypatch):
    """The validation is made up for, and only once."""
    with monkeypatch.context() as patch:
        run = ValLoop.run

        def killed(loop):
            if loop.runner.epoch == 2:
                raise Killed
            return run(loop)

        patch.setattr(ValLoop, 'run', killed)
        done = train('a', 2, '--resume', check=False)
    assert 'Killed' in done.stderr
    forget_score(a / 'epoch_2.pth')
    done = train('a', 2, '--resume')
    assert 'Epoch(val) [2]' in done.stdout and 'nothing is left to do' in done.stdout
    assert {1, 2} <= {*dict(read_scalars(a)['accuracy/top1'])}
    assert BEST.format(2) in names(a)
    assert BEST.format(1) not in names(a)
    done = train('a', 2, '--resume')
    assert 'Epoch(val)' not in done.stdout and 'nothing is left to do' in done.stdout


@pytest.mark.parametrize('broken', ['epoch_2.pth', BEST.format(2), 'last_checkpoint'])
def test_a_file_that_cannot_be_written_costs_no_other(train, a, monkeypatch, broken):
    def full(self, folder, filename, *args, **kwargs):
        if filename == broken:
            raise Killed
        return write(self, folder, filename, *args, **kwargs)

    write = Runner.save_checkpoint
    one = ('default_hooks.checkpoint.max_keep_ckpts=1',)
    with monkeypatch.context() as patch:
        patch.setattr(Runner, 'save_checkpoint', full)
        if broken == 'last_checkpoint':
            write_text = Path.write_text

            def half(path, text):
                if 'last_checkpoint' not in path.name:
                    return write_text(path, text)
                write_text(path, text[:4])
                raise Killed

            patch.setattr(Path, 'write_text', half)
        done = train('a', 2, '--resume', options=one, check=False)
    assert 'Killed' in done.stderr
    assert BEST.format(1) in names(a)
    last = Path((a / 'last_checkpoint').read_text())
    assert last.is_file() and load(last)['optimizer']
    if broken != BEST.format(2):
        assert last.name == 'epoch_1.pth'
    done = train('a', 2, '--resume', options=one)
    assert names(a) >= {'epoch_2.pth', BEST.format(2)}
    assert not names(a) & {'epoch_1.pth', BEST.format(1)}


def test_resume_needs_all_of_a_checkpoint(train, a):
    best = a / BEST.format(1)
    message = error_of(train('a', 2, '--resume', best, check=False))
    assert f'{best} holds weights but not all that is needed' in message
    assert 'optimizer missing' in message and f'load_from={best}' in message
    train('b', 1, options=[f'load_from={best}'])


def test_settings_that_are_not_taken_are_told(train, tmp_path):
    """MMEngine takes those of the checkpoint without a word."""
    schedule = 'param_scheduler.0.end={}'
    train('a', 1, '--no-validate', options=[schedule.format(7)])
    options = [schedule.format(9), 'optim_wrapper.optimizer.lr=0.5']
    done = train('a', 1, '--no-validate', '--resume', options=options)
    assert 'param_scheduler.0 keeps the settings of the checkpoint' in done.stdout
    assert 'end=7 instead of 9' in done.stdout
    assert 'the optimiser keeps the settings of the checkpoint' in done.stdout
    assert 'initial_lr=0.004 instead of 0.5' in done.stdout


def test_an_average_is_not_resumed_as_weights(train, tiny_config, tmp_path):
    config = tmp_path / 'averaging.py'
    config.write_text(
        f'_base_ = {str(tiny_config)!r}\n'
        "custom_hooks = [dict(type='EMAHook', momentum=0.1)]\n"
    )
    train('a', 1, config=config)
    args = ('--resume', tmp_path / 'a/epoch_1.pth')
    message = error_of(train('b', 2, *args, check=False))
    assert 'has no EMAHook' in message
    train('b', 2, *args, config=config)


def test_the_same_with_workers(train, tmp_path):
    """Augmentations, and the drop paths of the main process, follow the epoch."""
    args = ('--no-validate',)
    options = (
        'train_dataloader.num_workers=2',
        'train_dataloader.persistent_workers=True',
        'train_dataloader.batch_size=16',
    )
    train('a', 2, *args, options=options)
    train('b', 2, *args, '--resume', tmp_path / 'a/epoch_1.pth', options=options)
    one, two = (load(tmp_path / d / 'epoch_2.pth')['state_dict'] for d in 'ab')
    for key, value in one.items():
        assert torch.equal(value, two[key]), key


def test_workers_draw_anew_in_each_epoch(train, tiny_config, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        ImageClassifier,
        'train_step',
        lambda self, data, optim_wrapper: seen.append(data['inputs'].sum()) or {},
    )
    one_image = ('train_dataloader.dataset.indices=1', 'train_dataloader.num_workers=1')
    train('a', 3, '--no-validate', options=one_image)
    assert len({float(total) for total in seen}) == 3
