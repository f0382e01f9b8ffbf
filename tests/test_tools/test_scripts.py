"""What the scripts for several processes start."""

import os

import pytest


def test_distributed_test(run_tool, tmp_path):
    """What torchrun would be asked for, on one machine of two."""
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    environment = {'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'PORT': '1'}
    environment |= {'NNODES': '2', 'NODE_RANK': '1', 'MASTER_ADDR': 'other'}
    out = run_tool('dist_test.sh', 'c.py', 'x.pth', 3, '--tta', env=environment).stdout
    assert '--nnodes=2 --node_rank=1 --master_addr=other --master_port=1' in out
    assert '--nproc_per_node=3' in out
    assert out.endswith('tools/test.py c.py x.pth --tta --launcher pytorch\n')


@pytest.mark.parametrize(
    'tool, count', [('dist_train.sh', 1), ('dist_test.sh', 2), ('slurm_train.sh', 3)]
)
def test_scripts_say_how_they_are_used(run_tool, tool, count):
    done = run_tool(tool, *['x'] * count, check=False)
    assert done.returncode == 2 and 'CONFIG' in done.stderr


def test_slurm(run_tool, tmp_path):
    """What srun would be asked for."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\necho "$@"\n')
    srun.chmod(0o755)
    environment = {'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'GPUS': '4'}
    out = run_tool(
        'slurm_train.sh', 'gpu', 'job', 'c.py', 'work', '--amp', env=environment
    ).stdout
    for part in (
        '-p gpu',
        '--ntasks=4',
        '--ntasks-per-node=4',
        '--launcher slurm --amp',
    ):
        assert part in out
