import logging
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from smpconv_mm import ops
from smpconv_mm.ops import dispatch, extension

X = torch.randn(1, 2, 5, 5)
W = torch.randn(2, 1, 3, 3)
AUTO = 'cpp' if extension.HAS_EXT else 'onednn'


@pytest.fixture
def calls(monkeypatch):
    """Names of the backends that were run."""
    seen = []

    def spy(backend):
        def fn(*args):
            seen.append(backend.name)
            return backend.fn(*args)

        return replace(backend, fn=fn)

    table = [spy(b) for b in dispatch._TABLES['depthwise_conv2d']]
    monkeypatch.setitem(dispatch._TABLES, 'depthwise_conv2d', table)
    return seen


def test_auto_takes_the_first_that_can_run(calls):
    ops.depthwise_conv2d(X, W)
    ops.depthwise_conv2d(X.double(), W.double())
    assert calls == [AUTO, 'cpp' if extension.HAS_EXT else 'conv2d']


def test_forced_by_argument_context_and_environment(calls, monkeypatch):
    ops.depthwise_conv2d(X, W, backend='conv2d')
    with ops.use_backend('depthwise_conv2d', 'conv2d'):
        ops.depthwise_conv2d(X, W)
        with ops.use_backend('depthwise_conv2d', 'onednn'):
            ops.depthwise_conv2d(X, W)
        ops.depthwise_conv2d(X, W)
    ops.depthwise_conv2d(X, W)
    monkeypatch.setenv(dispatch.ENV_VAR, 'smp_kernel=dense,depthwise_conv2d=conv2d')
    ops.depthwise_conv2d(X, W)
    assert calls == ['conv2d', 'conv2d', 'onednn', 'conv2d', AUTO, 'conv2d']


def test_forced_backend_says_why_it_cannot():
    with pytest.raises(RuntimeError, match='onednn.*float64'):
        ops.depthwise_conv2d(X.double(), W.double(), backend='onednn')
    with pytest.raises(ValueError, match=r"no backend 'cudnn'.*onednn"):
        ops.depthwise_conv2d(X, W, backend='cudnn')
    with pytest.raises(ValueError, match="unknown operation 'conv'"):
        with ops.use_backend('conv', 'onednn'):
            pass


def test_bad_environment_variable(monkeypatch):
    monkeypatch.setenv(dispatch.ENV_VAR, 'onednn')
    with pytest.raises(ValueError, match="SMPCONV_MM_BACKEND='onednn'"):
        ops.depthwise_conv2d(X, W)


def test_choice_is_logged_once(caplog, monkeypatch):
    monkeypatch.setattr(dispatch, '_LOGGED', set())
    with caplog.at_level(logging.DEBUG, logger='smpconv_mm'):
        ops.depthwise_conv2d(X, W)
        ops.depthwise_conv2d(X, W)
    assert [r.message for r in caplog.records] == [
        f"depthwise_conv2d: using backend '{AUTO}'"
    ]


def test_command_line():
    out = subprocess.run(
        [sys.executable, '-m', 'smpconv_mm.ops', '--dtype', 'float64'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    chosen = 'cpp' if extension.HAS_EXT else 'conv2d'
    assert f"depthwise_conv2d: auto takes '{chosen}'" in out
    assert ('compiled operations: loaded' in out) == extension.HAS_EXT
    assert 'oneDNN has no float64' in out
