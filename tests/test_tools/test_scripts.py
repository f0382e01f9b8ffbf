"""What the scripts for several processes start."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'


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


@pytest.mark.parametrize('gpus', ['0', '-1', 'abc', '2.5'])
def test_number_of_processes(run_tool, gpus):
    for tool, args in (('dist_train.sh', ()), ('dist_test.sh', ('x.pth',))):
        done = run_tool(tool, 'c.py', *args, gpus, check=False)
        assert done.returncode == 2
        assert done.stderr == f"GPUS must be a number, 1 or more, got '{gpus}'\n"
    done = run_tool('slurm_train.sh', *'pjcw', check=False, env={'GPUS': gpus})
    assert done.returncode == 2 and f"got '{gpus}'" in done.stderr


def test_port_in_use(run_tool):
    with socket.socket() as taken:
        taken.bind(('', 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_tool(
            'dist_train.sh', 'c.py', 1, check=False, env={'PORT': f'{port}'}
        )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert f'PORT={port}: ' in done.stderr and 'set PORT to a free one' in done.stderr


@pytest.mark.parametrize('tool', ['install.sh', 'quickstart.sh', 'run_tests.sh'])
@pytest.mark.parametrize('option', ['-h', '--help'])
def test_help_installs_nothing(run_tool, tool, option, tmp_path):
    nothing = {'VIRTUAL_ENV': f'{tmp_path}/none'}
    done = run_tool(tool, option, env=nothing)
    assert f'bash tools/{tool}' in done.stdout and '--torch-index' in done.stdout
    assert '[1]' not in done.stdout and not done.stderr


PYTHON = f"""#!/bin/sh
case "$*" in
  '-m pip '*) shift 2; echo "$@" >> "$CALLS" ;;
  *' lacks torch '*) printf 'torch\\ntorchvision\\nninja\\n' ;;
  *' lacks '*) ;;
  *'import torch'*) ;;
  *) exec {sys.executable} "$@" ;;
esac
"""


@pytest.mark.parametrize('index', [None, 'https://example.org/cpu'])
def test_another_build_of_torch(run_tool, index, tmp_path):
    """Without a GPU the size of PyPI's build is told, and another one is taken."""
    python = tmp_path / 'bin/python'
    python.parent.mkdir()
    python.write_text(PYTHON)
    python.chmod(0o755)
    calls = tmp_path / 'calls'
    environment = {'VIRTUAL_ENV': f'{tmp_path}', 'CALLS': f'{calls}', 'CXX': '/none'}
    gpu = subprocess.run(['sh', '-c', 'nvidia-smi -L | grep GPU'], capture_output=True)
    options = ('--torch-index', index) * bool(index)
    done = run_tool('install.sh', *options, env=environment)
    told = 'contains CUDA all the same (5 GB). --torch-index takes' in done.stdout
    assert told == (index is None and gpu.returncode != 0)
    lines = [line for line in calls.read_text().splitlines() if ' torch ' in line]
    last = lines.pop().split()
    assert last[-3:] == ['torch', 'torchvision', 'ninja'] and '--index-url' not in last
    assert len(lines) == bool(index)
    for line in lines:
        assert line.endswith(f'--index-url {index} torch torchvision')


def test_quickstart_hands_the_index_on(tmp_path):
    """And all other arguments to the training."""
    tree = tmp_path / 'tree/tools'
    tree.mkdir(parents=True)
    (tree / 'install.sh').write_text('echo "install $@"; exit 3')
    (tree / 'quickstart.sh').write_text((TOOLS / 'quickstart.sh').read_text())
    args = ['--torch-index', 'https://example.org/cpu', '--amp']
    done = subprocess.run(
        ['bash', tree / 'quickstart.sh', *args], capture_output=True, text=True
    )
    assert done.stdout == 'install --level core --torch-index https://example.org/cpu\n'
