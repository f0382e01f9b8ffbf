"""The export tool as users call it."""

import pytest

from smpconv_mm.checkpoint import save
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model

TOOL = 'deployment/export_onnx.py'


@pytest.fixture(scope='module')
def checkpoint(tiny_config, tmp_path_factory):
    model = build_model(load_config(str(tiny_config)))
    path = tmp_path_factory.mktemp('checkpoint') / 'tiny.pth'
    save(dict(state_dict=model.state_dict()), path)
    return path


def test_export(run_tool, tiny_config, checkpoint, tmp_path):
    dst = tmp_path / 'tiny.onnx'
    done = run_tool(TOOL, tiny_config, checkpoint, dst, '--shape', 32, '--dynamic')
    assert 'input (3, 3, 35, 37): largest difference' in done.stdout
    assert 'Before the network, not in the file: (x - [78.0' in done.stdout
    assert dst.stat().st_size > 10_000


def test_shape_smaller_than_the_stride(run_tool, tiny_config, checkpoint, tmp_path):
    dst = tmp_path / 'tiny.onnx'
    done = run_tool(TOOL, tiny_config, checkpoint, dst, '--shape', 7, check=False)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'the stride of the network is 8; take sides of at least 8' in done.stderr
    assert not dst.exists()
