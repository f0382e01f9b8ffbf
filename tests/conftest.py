import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
os.environ.setdefault('MPLBACKEND', 'Agg')


@pytest.fixture(autouse=True)
def own_scope():
    """A default scope that a test sets ends with it."""
    try:
        from mmengine.registry import DefaultScope
    except ImportError:  # tests of operators need torch alone
        yield
        return
    before = DefaultScope._instance_dict.copy()
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


@pytest.fixture(scope='session')
def run_tool():
    """Run a tool as a user does; returns the finished process."""

    def run(name, *args, check=True, **kwargs):
        command = [sys.executable, ROOT / 'tools' / name, *map(str, args)]
        if name.endswith('.sh'):
            command = ['bash', *command[1:]]
        elif not name.endswith('.py'):
            command[1:2] = ['-m', name]
            kwargs.setdefault('cwd', ROOT)
        environment = {
            **os.environ,
            'VIRTUAL_ENV': sys.prefix,
            'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
            'OMP_NUM_THREADS': '1',
            **kwargs.pop('env', {}),
        }
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, **kwargs
        )
        assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr
        return done

    return run


@pytest.fixture(scope='session')
def tiny_config(tmp_path_factory):
    """The digits config with a network and data so small that it runs in seconds."""
    path = tmp_path_factory.mktemp('config') / 'tiny.py'
    path.write_text(
        f"""
_base_ = {str(ROOT / 'configs/smpconv/smpnet-micro_1xb64_digits.py')!r}
arch = dict(channels=[8, 8], depths=[1, 1], kernel_sizes=[7, 5])
model = dict(
    backbone=dict(arch=dict(_delete_=True, **arch)), head=dict(in_channels=8)
)
train_dataloader = dict(dataset=dict(indices=192))
train_cfg = dict(max_epochs=4)
param_scheduler = [dict(type='ConstantLR', factor=1.0)]
"""
    )
    return path
