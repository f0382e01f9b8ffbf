import logging
import subprocess
import sys

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd

from smpconv_mm import ops
from smpconv_mm.ops import dispatch
from smpconv_mm.ops.extension import LOAD_ERROR

X = torch.randn(1, 2, 5, 5)
W = torch.randn(2, 1, 3, 3)
AUTO = 'onednn' if LOAD_ERROR else 'onednn+cpp'
AUTO_FLOAT64 = 'conv2d' if LOAD_ERROR else 'cpp'


@pytest.fixture
def calls(monkeypatch):
    """Names of the backends that were run."""
    seen = []

    def spy(backend):
        run = backend.run

        def spying(*args):
            seen.append(backend.name)
            return run(*args)

        return spying

    for name in ops.backends('depthwise_conv2d'):
        backend = dispatch.find('depthwise_conv2d', name)
        monkeypatch.setattr(backend, 'run', spy(backend))
    return seen


def test_auto_takes_the_first_that_can_run(calls):
    ops.depthwise_conv2d(X, W)
    ops.depthwise_conv2d(X.double(), W.double())
    assert calls == [AUTO, AUTO_FLOAT64]


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


@pytest.mark.parametrize('op', ops.operations())
def test_every_operation_has_an_example_that_all_its_backends_run(op):
    """A new operation is in this list by being registered."""
    assert callable(getattr(ops, op)) and callable(getattr(ops.reference, op))
    args = dispatch.example(op, (1, 2, 5, 5), 3, dtype=torch.float32, device='cpu')
    outs = [
        backend.run(*args)
        for backend in map(dispatch.find, [op] * 99, ops.backends(op))
        if backend.unsupported(*args) is None
    ]
    assert outs
    for out in outs[1:]:
        torch.testing.assert_close(out, outs[0], rtol=1e-4, atol=1e-4)


def test_names_are_taken_once():
    with pytest.raises(ValueError, match="'smp_kernel' already"):
        dispatch.register_operation('smp_kernel', [], lambda: ())


def test_command_line():
    out = subprocess.run(
        [sys.executable, '-m', 'smpconv_mm.ops', '--dtype', 'float64'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for op in ops.operations():
        assert f'\n{op}: auto takes ' in out
    assert f"depthwise_conv2d: auto takes '{AUTO_FLOAT64}'" in out
    assert f'compiled operations: {LOAD_ERROR or "loaded"}' in out
    assert 'oneDNN has no float64' in out


def graph_of(function, x):
    """Names of the operators that a compiler gets to see."""
    seen = []

    def backend(module, inputs):
        seen.extend(str(node.target) for node in module.graph.nodes)
        return module

    torch._dynamo.reset()
    compiler = aot_autograd(fw_compiler=backend)
    with torch.no_grad():
        torch.compile(function, fullgraph=True, backend=compiler)(x)
    return seen


@pytest.mark.skipif(LOAD_ERROR is not None, reason='needs the compiled operations')
def test_compilers_get_our_operators_and_exporters_torchs():
    class Net(torch.nn.Module):
        def forward(self, x):
            return ops.depthwise_conv2d(x, torch.ones(2, 1, 9, 9))

    net, x = Net(), torch.randn(1, 2, 12, 12)
    assert 'smpconv_mm.depthwise_conv2d.default' in graph_of(net, x)
    for strict in (False, True):
        program = torch.export.export(net, (x,), strict=strict)
        assert not [n for n in program.graph.nodes if 'smpconv' in str(n.target)]
    # and again, after an export
    assert 'smpconv_mm.depthwise_conv2d.default' in graph_of(net, x)
