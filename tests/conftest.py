import gc
import os
from pathlib import Path

import pytest
import running

ROOT = Path(__file__).parents[1]
os.environ.setdefault('MPLBACKEND', 'Agg')


# Files that take longest. They come first, so that two workers end together.
LONG = (
    'test_backbones.py',
    'test_scale.py',
    'test_check_kernels.py',
    'test_docs.py',
    'test_depthwise_weight_kernels.py',
    'test_configs.py',
    'test_oriented_kernels.py',
    'test_export.py',
    'test_involution_kernels.py',
    'test_depthwise_kernels.py',
    'test_downstream.py',
    'test_comparison.py',
)


def pytest_collection_modifyitems(items):
    """Long files first."""
    places = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONG)))


@pytest.fixture(autouse=True, scope='module')
def long_lived():
    """What was imported before a file's tests is not searched for garbage in them.

    MMEngine collects garbage for every data set that it builds.
    """
    gc.collect()
    gc.freeze()


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
    """Run a tool; returns its ``returncode``, ``stdout`` and ``stderr``."""
    return running.run_tool


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
