"""Several machines and processes, sharding, compiling, and processes that die."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from running import ENVIRONMENT, ROOT, free_port, run_in_processes, without_mmdet

from smpconv_mm.checkpoint import find_latest, load
from smpconv_mm.visualization import read_scalars

FSDP = 'strategy.type=smpconv_mm.FSDPStrategy'


def start(log, config, processes, *args, **environment):
    """Run dist_train.sh in the background; its output goes to a file."""
    command = ['bash', ROOT / 'tools/dist_train.sh', config, str(processes)]
    with open(log, 'w') as file:
        return subprocess.Popen(
            [*command, *map(str, args)],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=without_mmdet({**ENVIRONMENT, **environment}),
        )


def workers(folder):
    """Process ids, by rank, of the training that writes to a folder."""
    found = {}
    for entry in Path('/proc').glob('[0-9]*'):
        try:
            command = (entry / 'cmdline').read_bytes().decode().split('\0')
            variables = (entry / 'environ').read_bytes().decode().split('\0')
        except (OSError, UnicodeDecodeError):  # ended meanwhile, or not ours
            continue
        rank = [v[5:] for v in variables if v.startswith('RANK=')]
        if rank and str(folder) in command:
            found[int(rank[0])] = int(entry.name)
    return found


def wait_for(path, process, log, seconds=120):
    """Wait until a process has written a file."""
    stop = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < stop, f'not within {seconds} s'
        time.sleep(0.02)


def same_weights(one, two, tolerance):
    one, two = (load(path)['state_dict'] for path in (one, two))
    assert list(one) == list(two)
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=0, atol=tolerance, msg=key)


def test_two_machines(tiny_config, tmp_path):
    options = (
        '--no-validate',
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=48',
    )
    port = str(free_port())
    nodes = [
        start(
            tmp_path / f'{rank}.log',
            tiny_config,
            1,
            '--work-dir',
            tmp_path / str(rank),
            *options,
            NNODES='2',
            NODE_RANK=str(rank),
            MASTER_ADDR='127.0.0.1',
            PORT=port,
        )
        for rank in (0, 1)
    ]
    log = tmp_path / '0.log'
    assert [n.wait(timeout=120) for n in nodes] == [0, 0], log.read_text()[-3000:]
    # 192 images: two iterations of 2 x 48
    assert load(tmp_path / '0/epoch_1.pth')['meta']['iter'] == 2
    assert not list((tmp_path / '1').glob('*.pth'))  # the first process writes


@pytest.fixture(scope='module')
def steady_config(tiny_config, tmp_path_factory):
    """Without chance and batch statistics: any split of a batch does the same."""
    path = tmp_path_factory.mktemp('config') / 'steady.py'
    path.write_text(
        f"""
_base_ = {str(tiny_config)!r}
norm = dict(type='GN', num_groups=2)
kernel = dict(radius=0.5, radius_range=(0.4995, 0.5))
model = dict(backbone=dict(norm_cfg=norm, drop_path_rate=0, kernel_cfg=kernel))
train_dataloader = dict(
    batch_size=16, dataset=dict(pipeline={{{{_base_.test_pipeline}}}})
)
optim_wrapper = dict(accumulative_counts=2, optimizer=dict(eps=1e-4))
train_cfg = dict(max_epochs=2)
"""
    )
    return path


@pytest.fixture(scope='module')
def plain(run_tool, steady_config, tmp_path_factory):
    """One process, two epochs."""
    work_dir = tmp_path_factory.mktemp('plain')
    batch = 'train_dataloader.batch_size=32'
    args = ('--work-dir', work_dir, '--cfg-options', batch)
    run_tool('train.py', steady_config, *args)
    return work_dir


@pytest.fixture(scope='module')
def sharded(steady_config, tmp_path_factory):
    """FSDP in two processes with half the batch each: an epoch, and another."""
    work_dir = tmp_path_factory.mktemp('sharded')
    args = ('train.py', steady_config, '--work-dir', work_dir)
    # a recomputed block is gathered once more
    options = ('--cfg-options', FSDP, 'model.backbone.with_cp=True')
    run_in_processes(*args, *options, 'train_cfg.max_epochs=1')
    done = run_in_processes(*args, '--resume', *options)
    assert 'resumed epoch: 1, iter: 6' in done.stdout
    return work_dir


def test_sharded_training(run_tool, steady_config, plain, sharded, tmp_path):
    for epoch in (1, 2):
        same_weights(plain / f'epoch_{epoch}.pth', sharded / f'epoch_{epoch}.pth', 1e-5)
    first, last = (load(plain / f'epoch_{i}.pth')['state_dict'] for i in (1, 2))
    key = 'backbone.stages.0.blocks.0.large_kernel.smp.conv.kernel.weight'
    assert (first[key] - last[key]).abs().max() > 1e-3  # far more than 1e-5
    shards = load(sharded / 'epoch_2.pth')['state_dict']
    radii = torch.cat([v.flatten() for k, v in shards.items() if k.endswith('.radius')])
    assert radii.min() >= 0.4995 and radii.max() <= 0.5 and radii.unique().numel() > 2
    assert (radii == 0.5).any()  # clipped, where a step went beyond

    # the groups of the optimiser are those of the unsharded model
    def groups(path):
        state = load(path)['optimizer']
        return [(g['lr'], g['weight_decay']) for g in state['param_groups']]

    checkpoint = sharded / 'epoch_2.pth'
    assert groups(checkpoint) == groups(plain / 'epoch_2.pth')
    args = ('--work-dir', tmp_path, '--cfg-options', FSDP)
    done = run_tool('test.py', steady_config, checkpoint, *args)
    assert 'accuracy/top1' in done.stdout


def test_resume_sharded_what_was_not(steady_config, plain, tmp_path):
    args = ('--work-dir', tmp_path, '--resume', plain / 'epoch_1.pth')
    options = ('--cfg-options', FSDP)
    run_in_processes('train.py', steady_config, *args, *options)
    same_weights(plain / 'epoch_2.pth', tmp_path / 'epoch_2.pth', 1e-5)


def test_resume_what_was_sharded(run_tool, steady_config, sharded, tmp_path):
    args = ('--work-dir', tmp_path, '--resume', sharded / 'epoch_1.pth')
    batch = 'train_dataloader.batch_size=32'
    run_tool('train.py', steady_config, *args, '--cfg-options', batch)
    same_weights(sharded / 'epoch_2.pth', tmp_path / 'epoch_2.pth', 1e-5)


@pytest.mark.parametrize('fault', ['killed', 'raises'])
def test_one_process_dies(tiny_config, tmp_path, fault):
    """All end within a minute, with an error; the last checkpoint resumes."""
    work, log = tmp_path / 'work', tmp_path / 'log'
    options = ('--work-dir', work, '--cfg-options', 'train_cfg.max_epochs=500')
    config, environment = tiny_config, {}
    if fault == 'raises':
        (tmp_path / 'failing.py').write_text(
            'from mmengine.hooks import Hook\n'
            'from mmengine.registry import HOOKS\n'
            '@HOOKS.register_module()\n'
            'class FailingHook(Hook):\n'
            '    def before_train_epoch(self, runner):\n'
            '        if runner.rank == 1 and runner.epoch == 2:\n'
            "            raise ArithmeticError('of this process')\n"
        )
        config = tmp_path / 'failing_config.py'
        config.write_text(
            f'_base_ = {str(tiny_config)!r}\n'
            "custom_imports = dict(imports='failing')\n"
            "custom_hooks = [dict(type='mmengine.FailingHook')]\n"
        )
        environment['PYTHONPATH'] = str(tmp_path)
    process = start(log, config, 2, *options, **environment)
    try:
        wait_for(work / 'epoch_2.pth', process, log)
        if fault == 'killed':
            os.kill(workers(work)[1], signal.SIGKILL)
        process.wait(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0
    assert not workers(work)
    output = log.read_text()
    if fault == 'killed':
        assert re.search(r'exitcode\s*: -9', output)
    else:  # last comes what the first process died of
        report = output[output.index('Root Cause') :]
        assert 'ArithmeticError: of this process' in report
        assert 'in before_train_epoch' in report
    for path in work.glob('epoch_*.pth'):
        load(path)  # whole, every one of them
    last = load(find_latest(work))['meta']['epoch']
    if fault == 'killed':  # what was measured in two processes is so in two others
        measured = dict(read_scalars(work)['accuracy/top1'])
        epoch = max(i for i in measured if (work / f'epoch_{i}.pth').exists())
        checkpoint, folder = work / f'epoch_{epoch}.pth', tmp_path / 'test'
        args = (tiny_config, checkpoint, '--work-dir', folder)
        done = run_in_processes('test.py', *args)
        assert f'accuracy/top1: {measured[epoch]:.4f}' in done.stdout
    done = run_in_processes(
        'train.py',
        tiny_config,
        '--work-dir',
        work,
        '--resume',
        '--cfg-options',
        f'train_cfg.max_epochs={last + 1}',
    )
    assert f'resumed epoch: {last}' in done.stdout
    assert load(work / f'epoch_{last + 1}.pth')['meta']['epoch'] == last + 1


def test_terminated(tiny_config, tmp_path):
    """SIGTERM, as schedulers send it, ends all processes."""
    work, log = tmp_path / 'work', tmp_path / 'log'
    options = ('--work-dir', work, '--cfg-options', 'train_cfg.max_epochs=500')
    process = start(log, tiny_config, 2, *options)
    try:
        wait_for(work / 'epoch_1.pth', process, log)
        process.terminate()
        process.wait(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0
    assert not workers(work)


def test_compiled(run_tool, steady_config, tmp_path):
    """The same network is trained, and evaluated.

    The backend of ``compile=True`` would take half a minute to compile.
    """
    weights = []
    for name, extra in dict(plain=(), compiled=('compile.backend=eager',)).items():
        done = run_tool(
            'train.py',
            steady_config,
            '--work-dir',
            tmp_path / name,
            '--cfg-options',
            'train_cfg.max_epochs=1',
            'train_dataloader.dataset.indices=64',
            *extra,
        )
        assert ('Model has been "compiled"' in done.stdout) == (name == 'compiled')
        assert 'accuracy/top1' in done.stdout
        weights.append(tmp_path / name / 'epoch_1.pth')
    same_weights(*weights, 1e-5)


def test_bfloat16(run_tool, tiny_config, tmp_path):
    """On CPUs too; the weights stay float32."""
    args = ('--work-dir', tmp_path, '--amp', 'bfloat16')
    run_tool('train.py', tiny_config, *args, '--cfg-options', 'train_cfg.max_epochs=1')
    assert 'BFloat16OptimWrapper' in (tmp_path / 'tiny.py').read_text()
    state = load(tmp_path / 'epoch_1.pth')['state_dict']
    assert {v.dtype for v in state.values()} == {torch.float32, torch.int64}
