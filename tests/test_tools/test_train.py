"""Training, testing, resuming: the tools as users call them."""

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from running import without_mmdet

from smpconv_mm.checkpoint import load

ROOT = Path(__file__).parents[2]


def metrics(work_dir, key='accuracy/top1'):
    from smpconv_mm.visualization import read_scalars

    return dict(read_scalars(work_dir)[key])


def names(work_dir):
    """Files of a work dir, hidden ones too; but not the folders of logs."""
    return {p.name for p in Path(work_dir).iterdir() if p.is_file()}


@pytest.fixture(scope='module')
def unbroken(run_tool, tiny_config, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('unbroken')
    done = run_tool('train.py', tiny_config, '--work-dir', work_dir)
    (work_dir / 'stdout').mkdir()
    (work_dir / 'stdout/train.txt').write_text(done.stdout)
    return work_dir


def test_train(unbroken):
    assert set(metrics(unbroken)) == {1, 2, 3, 4}
    best = [n for n in names(unbroken) if n.startswith('best_')]
    assert len(best) == 1
    # the last three, the best, the pointer and the config
    assert names(unbroken) == {
        'epoch_2.pth',
        'epoch_3.pth',
        'epoch_4.pth',
        'last_checkpoint',
        'tiny.py',
        *best,
    }
    checkpoint = load(unbroken / 'epoch_4.pth')
    assert checkpoint['meta']['epoch'] == 4
    assert checkpoint['meta']['dataset_meta']['classes'] == tuple('0123456789')
    radii = [v for k, v in checkpoint['state_dict'].items() if k.endswith('.radius')]
    assert radii and all(1e-3 <= r.min() and r.max() <= 1 for r in radii)


def test_console_is_short_and_the_log_complete(unbroken):
    """Before the first step: no config, no table, no line for each parameter."""
    said = (unbroken / 'stdout/train.txt').read_text()
    assert said[: said.index('Epoch(train)')].count('\n') < 40
    assert 'are logged in' in said and 'deprecated' not in said
    (log,) = unbroken.glob('*/*.log')
    complete = log.read_text()
    for part in ('System environment', 'train_dataloader=dict(', 'paramwise_options'):
        assert part in complete and part not in said
    assert 'Epoch(train)' in complete


def test_killed_and_resumed(run_tool, tiny_config, unbroken, tmp_path):
    """kill -9 in the middle, --resume: the same weights as without."""
    process = subprocess.Popen(
        [sys.executable, ROOT / 'tools/train.py', tiny_config, '--work-dir', tmp_path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=without_mmdet(),
    )
    deadline = time.time() + 120
    while not (tmp_path / 'epoch_2.pth').exists() and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'epoch_4.pth').exists(), 'killed too late'
    for path in tmp_path.glob('[!.]*.pth'):
        load(path)  # whole, every one of them
    done = run_tool('train.py', tiny_config, '--work-dir', tmp_path, '--resume')
    assert 'resumed epoch' in done.stdout
    for epoch in (3, 4):
        assert metrics(tmp_path)[epoch] == metrics(unbroken)[epoch]
    one, two = (load(d / 'epoch_4.pth')['state_dict'] for d in (tmp_path, unbroken))
    for key in one:
        assert torch.equal(one[key], two[key]), key


def test_resume_without_a_checkpoint_starts_anew(run_tool, tiny_config, tmp_path):
    run_tool(
        'train.py',
        tiny_config,
        '--work-dir',
        tmp_path,
        '--resume',
        '--no-validate',
        '--auto-scale-lr',
        '--cfg-options',
        'train_cfg.max_epochs=1',
    )
    assert 'epoch_1.pth' in names(tmp_path)
    assert not [n for n in names(tmp_path) if n.startswith('best')]


def test_test(run_tool, tiny_config, unbroken, tmp_path):
    checkpoint = unbroken / 'epoch_4.pth'
    out = tmp_path / 'metrics.json'
    run_tool(
        'test.py',
        tiny_config,
        checkpoint,
        '--work-dir',
        tmp_path,
        '--out',
        out,
        '--show-dir',
        tmp_path / 'show',
        '--interval',
        60,
    )
    expected = metrics(unbroken)[4]
    assert json.loads(out.read_text())['accuracy/top1'] == pytest.approx(expected)
    pictures = list((tmp_path / 'show').rglob('*.png'))
    assert len(pictures) == 6
    run_tool(
        'test.py',
        tiny_config,
        checkpoint,
        '--work-dir',
        tmp_path,
        '--tta',
        '--out',
        tmp_path / 'predictions.pkl',
    )
    predictions = pickle.loads((tmp_path / 'predictions.pkl').read_bytes())
    assert len(predictions) == 360


PYTHON = """#!/bin/sh
case $1 in
  tools/train.py) mkdir -p "$4"; echo x.pth > "$4/last_checkpoint"; cat "$SAID" ;;
  -) echo '97.00 % after epoch 4' ;;
  *) echo noise; exit "${FAIL:-0}" ;;
esac
"""


def test_quickstart_shows_what_one_wants_to_see(unbroken, tmp_path):
    """Steps, a line per epoch and the result; the rest is in the log."""
    tree, env = tmp_path / 'tree', tmp_path / 'env'
    for path, text in {
        tree / 'tools/install.sh': 'echo "[1] installed"',
        tree / 'tools/quickstart.sh': (ROOT / 'tools/quickstart.sh').read_text(),
        env / 'bin/python': PYTHON,
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    said = unbroken / 'stdout/train.txt'
    environment = {**os.environ, 'VIRTUAL_ENV': str(env), 'SAID': str(said)}

    def start(**more):
        return subprocess.run(
            ['bash', tree / 'tools/quickstart.sh'],
            capture_output=True,
            text=True,
            env={**environment, **more},
        )

    done = start()
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == '[1] installed' and len(lines) < 20
    epochs = [line for line in lines if line.startswith('    epoch')]
    assert len(epochs) == 4
    for number, line in enumerate(epochs, 1):
        accuracy = metrics(unbroken)[number]
        assert re.fullmatch(
            rf'    epoch {number}: loss \d\.\d+, accuracy {accuracy:.2f} %', line
        )
    assert '97.00 % after epoch 4' in done.stdout
    log = tree / 'work_dirs/smpnet-micro_1xb64_digits/quickstart.log'
    assert said.read_text() in log.read_text() and 'noise' in log.read_text()
    done = start(FAIL='3')
    assert done.returncode == 1 and 'noise' in done.stderr
    assert 'quickstart.log' in done.stderr
    done = start(SAID='no such file')
    assert done.returncode == 1 and 'No such file' in done.stderr


@pytest.fixture(scope='module')
def imagenet(tmp_path_factory):
    """A few JPEG files as ImageNet is laid out."""
    root = tmp_path_factory.mktemp('imagenet')
    rng = np.random.default_rng(0)
    (root / 'meta').mkdir()
    for split in ('train', 'val'):
        lines = []
        for label in range(4):
            folder = root / split / f'n0000000{label}'
            folder.mkdir(parents=True)
            for i in range(2):
                image = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / f'{i}.JPEG'), image)
                lines.append(f'{folder.name}/{i}.JPEG {label}')
        (root / 'meta' / f'{split}.txt').write_text('\n'.join(lines))
    return root


@pytest.fixture(scope='module')
def small_in1k(tmp_path_factory):
    """The published recipe with a small network."""
    path = tmp_path_factory.mktemp('config') / 'small_in1k.py'
    path.write_text(
        f"""
_base_ = {str(ROOT / 'configs/smpconv/smpnet-tiny_4xb256_in1k.py')!r}
arch = dict(channels=[8] * 4, depths=[1] * 4, kernel_sizes=[9, 9, 7, 5])
model = dict(
    backbone=dict(arch=dict(_delete_=True, **arch)), head=dict(in_channels=8)
)
train_cfg = dict(max_epochs=2)
"""
    )
    return path


def imagenet_options(root):
    options = [
        'param_scheduler.0.end=1',
        'param_scheduler.1.begin=1',
        'param_scheduler.1.end=2',
    ]
    for phase in ('train', 'val', 'test'):
        split = 'train' if phase == 'train' else 'val'
        options += [
            f'{phase}_dataloader.batch_size=2',
            f'{phase}_dataloader.num_workers=0',
            f'{phase}_dataloader.persistent_workers=False',
            f'{phase}_dataloader.dataset.data_root={root}',
            f'{phase}_dataloader.dataset.ann_file=meta/{split}.txt',
        ]
    return options


def test_imagenet_recipe(run_tool, small_in1k, imagenet, tmp_path):
    """Mixup, CutMix, EMA, accumulation and augmentation on tiny data."""
    options = imagenet_options(imagenet)
    run_tool('train.py', small_in1k, '--work-dir', tmp_path, '--cfg-options', *options)
    checkpoint = load(tmp_path / 'epoch_2.pth')
    raw, averaged = checkpoint['ema_state_dict'], checkpoint['state_dict']
    key = 'backbone.stages.0.blocks.0.large_kernel.smp.conv.kernel.weight'
    assert not torch.equal(raw[f'module.{key}'], averaged[key])
    run_tool(
        'train.py',
        small_in1k,
        '--work-dir',
        tmp_path,
        '--resume',
        '--cfg-options',
        *options,
        'train_cfg.max_epochs=3',
    )
    assert load(tmp_path / 'epoch_3.pth')['meta']['epoch'] == 3


class TestBadInput:
    """One line, naming the value and the remedy; no traceback."""

    def fails(self, run_tool, *args, **kwargs):
        done = run_tool(*args, check=False, **kwargs)
        assert done.returncode != 0
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith('error: '), done.stderr[-1500:]
        assert 'Traceback' not in done.stderr
        return last

    def test_missing_config(self, run_tool):
        assert "'no.py' does not exist" in self.fails(run_tool, 'train.py', 'no.py')

    def test_missing_data(self, run_tool, tmp_path):
        config = ROOT / 'configs/smpconv/smpnet-tiny_4xb256_in1k.py'
        message = self.fails(run_tool, 'train.py', config, cwd=tmp_path)
        assert "'data/imagenet'" in message
        assert 'train_dataloader.dataset.data_root=FOLDER' in message

    def test_unreadable_image(self, run_tool, small_in1k, imagenet, tmp_path):
        root = tmp_path / 'data'
        shutil.copytree(imagenet, root)
        broken = root / 'train/n00000001/0.JPEG'
        broken.write_bytes(broken.read_bytes()[:10])
        for workers in (0, 1):
            options = [
                *imagenet_options(root),
                f'train_dataloader.num_workers={workers}',
            ]
            message = self.fails(
                run_tool,
                'train.py',
                small_in1k,
                '--work-dir',
                tmp_path / 'w',
                '--cfg-options',
                *options,
            )
            assert str(broken) in message and 'mend or remove' in message

    def test_checkpoint_of_another_architecture(self, run_tool, tiny_config, unbroken):
        checkpoint = unbroken / 'epoch_4.pth'
        config = ROOT / 'configs/smpconv/smpnet-micro_1xb64_digits.py'
        for args in (
            ('test.py', config, checkpoint, '--work-dir', unbroken / 't'),
            ('train.py', config, '--resume', checkpoint, '--work-dir', unbroken / 't'),
        ):
            message = self.fails(run_tool, *args)
            assert 'epoch_4.pth does not fit the model' in message
            assert 'instead of' in message

    def test_broken_checkpoint(self, run_tool, tiny_config, tmp_path):
        (tmp_path / 'cut.pth').write_bytes(b'PK\x03\x04')
        message = self.fails(
            run_tool,
            'test.py',
            tiny_config,
            tmp_path / 'cut.pth',
            '--work-dir',
            tmp_path,
        )
        assert 'cut.pth' in message and 'truncated' in message

    @pytest.mark.parametrize(
        'option, message',
        [
            (
                'trian_cfg.max_epochs=1',
                "is named 'trian_cfg'; did you mean train_cfg.max_epochs?",
            ),
            ('max_epochs=2', 'no part reads; did you mean train_cfg.max_epochs?'),
            ('train_cfg.epochs=1', "EpochBasedTrainLoop has no argument 'epochs'"),
            ('default_hooks.checkpoint.keep=1', "Hook has no argument 'keep'; correct"),
            ('model.backbone.n_pts=3', "SMPNet has no argument 'n_pts'; correct or"),
            ('model.backbone.small_kernel_size=4', 'kernel sizes must be odd'),
            ('model.backbone.type=smpconv_mm.SMPNit', 'SMPNit is not in the'),
        ],
    )
    def test_mistakes_in_a_config(
        self, run_tool, tiny_config, tmp_path, option, message
    ):
        args = ('--work-dir', tmp_path, '--cfg-options', option)
        assert message in self.fails(run_tool, 'train.py', tiny_config, *args)

    @pytest.mark.parametrize(
        'args, message',
        [
            (('--cfg-options', 'foo'), '--cfg-options foo: write KEY=VALUE'),
            (('--cfg-options', '=3'), '--cfg-options =3: write KEY=VALUE'),
            (
                ('--cfg-options', 'train_dataloader.batch_size=0'),
                'train_dataloader.batch_size must be a whole number, 1 or more, got 0',
            ),
            (
                ('--cfg-options', 'val_dataloader.num_workers=-1'),
                'val_dataloader.num_workers must be a whole number, 0 or more, got -1',
            ),
            (('--launcher', 'pytorch'), 'RANK is not set, so this process was not'),
            (('--launcher', 'slurm'), 'SLURM_PROCID is not set'),
        ],
    )
    def test_mistakes_on_the_command_line(
        self, run_tool, tiny_config, tmp_path, args, message
    ):
        said = self.fails(
            run_tool, 'train.py', tiny_config, '--work-dir', tmp_path, *args
        )
        assert message in said

    def test_readme_is_no_config(self, run_tool):
        said = self.fails(run_tool, 'train.py', ROOT / 'README.md')
        assert "README.md' is not a config; the name of one ends in .py" in said

    def test_options_that_cannot_be(self, run_tool, tiny_config, tmp_path):
        where = ('--work-dir', tmp_path)
        message = self.fails(
            run_tool, 'train.py', tiny_config, *where, '--resume', 'x.pth'
        )
        assert "'x.pth' does not exist" in message
        if not torch.cuda.is_available():
            message = self.fails(run_tool, 'train.py', tiny_config, *where, '--amp')
            assert '--amp needs a GPU' in message
