"""The export tool as users call it."""

from pathlib import Path

import pytest

from smpconv_mm.checkpoint import save
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model

ROOT = Path(__file__).parents[2]
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


def test_size_of_the_config(run_tool, tiny_config, checkpoint, tmp_path):
    done = run_tool(TOOL, tiny_config, checkpoint, tmp_path / 'tiny.pt2')
    said = 'size of the input: 32 x 32 (from the test pipeline)'
    assert f'{said}, batch 1, no other' in done.stdout
    assert 'input (1, 3, 32, 32): largest' in done.stdout


def test_sequences_of_any_length(run_tool, tmp_path):
    config = ROOT / 'configs/smpconv/smp-tcn_1xb64_digits.py'
    model = build_model(load_config(str(config)))
    save(dict(state_dict=model.state_dict()), tmp_path / 'tcn.pth')
    args = (config, tmp_path / 'tcn.pth', tmp_path / 'tcn.pt2')
    done = run_tool(TOOL, *args)
    assert 'size of the input: 64 (from the first sample' in done.stdout
    assert ', and any other' in done.stdout and 'input (3, 1, 67)' in done.stdout
    done = run_tool(TOOL, *args, '--no-dynamic')
    assert ', batch 1, no other' in done.stdout


def test_shape_smaller_than_the_stride(run_tool, tiny_config, checkpoint, tmp_path):
    dst = tmp_path / 'tiny.onnx'
    done = run_tool(TOOL, tiny_config, checkpoint, dst, '--shape', 7, check=False)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'the stride of the network is 8; take sides of at least 8' in done.stderr
    assert not dst.exists()
