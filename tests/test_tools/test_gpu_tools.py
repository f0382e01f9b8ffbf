"""The measurements of a GPU, as far as they run without one."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tolerances import assert_close

from smpconv_mm.ops.depthwise_conv import cuda

BENCHMARKS = Path(__file__).parents[2] / 'tools' / 'benchmarks'
TOOLS = ['bench_gpu', 'tune_depthwise', 'gpu_networks', 'make_cudnn_table']


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_says_what_it_would_do(tmp_path, run_tool):
    done = run_tool('benchmarks/gpu_run.sh', tmp_path / 'out', 150)
    if torch.cuda.is_available():
        pytest.skip('a GPU is there')
    said = done.stdout
    assert 'this is what would be done' in said and '== done' in said
    order = [said.index(f'== {p}') for p in ('ours', 'tests', 'plans', 'crossovers')]
    assert order == sorted(order)
    assert (tmp_path / 'out' / 'log.txt').read_text() == said


def test_leaves_out_what_does_not_fit(tmp_path, run_tool):
    done = run_tool('benchmarks/gpu_run.sh', tmp_path, 5, 'ours', 'names')
    assert 'ours: left out, it needs 15 s' in done.stdout
    assert 'plans' not in done.stdout


def test_wants_a_deadline(tmp_path, run_tool):
    done = run_tool('benchmarks/gpu_run.sh', tmp_path, check=False)
    assert done.returncode == 2 and 'DEADLINE_S' in done.stderr


WITHOUT = """
import sys
for name in {names!r}:
    sys.modules[name] = None
sys.path.insert(0, {folder!r})
for name in {tools!r}:
    __import__(name)
"""


def test_needs_torch_alone():
    names = 'mmengine mmcv mmpretrain torchvision matplotlib rich'.split()
    code = WITHOUT.format(names=names, folder=str(BENCHMARKS), tools=TOOLS)
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason='a GPU is there')
@pytest.mark.parametrize('name', TOOLS[:3])
def test_says_that_there_is_no_gpu(name, run_tool):
    arguments = ['ours'] if name == 'bench_gpu' else []
    done = run_tool(f'benchmarks/{name}.py', *arguments, check=False)
    assert done.returncode == 1 and 'torch sees no GPU' in done.stderr


def test_reference_of_the_plans(tool):
    reference = tool('tune_depthwise').reference
    x, grad = torch.randn(2, 3, 4, 9, 9)
    weight = torch.randn(4, 1, 7, 7)
    a, b = x.double().requires_grad_(), weight.double().requires_grad_()
    out = torch.nn.functional.conv2d(a, b, padding=3, groups=4)
    expected = (out, *torch.autograd.grad(out, (a, b), grad.double()))
    for which, e in zip(('forward', 'dx', 'dw'), expected):
        assert_close(reference(which, x, weight, grad), e, 1e-5)


def test_plans_are_of_known_settings(tool):
    """Each setting that is tried is one that a planner takes."""
    tune = tool('tune_depthwise')
    path = BENCHMARKS.parents[1] / 'cuda_ops/csrc/cuda/plan_settings.cuh'
    known = path.read_text()
    for name, grid in tune.GRIDS.items():
        line = next(t for t in known.splitlines() if f'{{"{name}", "' in t)
        assert set(grid) <= set(line.split('"')[3].split()), name
    plans = list(tune.plans('weight', 2))
    assert plans[0] == '' and len(plans) == len(set(plans))
    assert max(plan.count('=') for plan in plans) == 2


def test_networks_are_those_of_the_backbones(tool):
    networks = tool('gpu_networks')
    from mmpretrain.models import ConvNeXt

    from smpconv_mm.models import SMPNet

    def count(network):
        return sum(p.numel() for p in network.parameters())

    head = 768 * 1000 + 1000
    assert count(networks.smpnet_tiny()) == count(SMPNet('tiny')) + head
    assert count(networks.convnext_tiny()) == count(ConvNeXt('tiny')) + head


@pytest.mark.parametrize('name', ['smpnet-tiny', 'convnext-tiny channels_last'])
def test_networks_run(tool, name):
    for call in tool('gpu_networks').calls(name, torch.bfloat16, 2, 32, 'cpu').values():
        call()


def row(which, kernel, **times):
    size = dict(dtype='bfloat16', kernel=kernel, side=14, batch=64, which=which)
    return json.dumps(dict(part='crossovers', **size, **times)) + '\n'


def test_table_of_the_dispatch(tool, tmp_path, monkeypatch):
    ours = dict(ours=10, ours_channels_last=30)
    path = tmp_path / 'rows.jsonl'
    path.write_text(
        row('forward', 7, **ours, nchw=9, channels_last=20)
        + row('dx', 7, **ours, nchw=40, channels_last=20)
        + row('dw', 7, **ours, nchw=10, channels_last=90)
        + ''.join(
            row(w, 31, **ours, nchw=99, channels_last=99)
            for w in ('forward', 'dx', 'dw')
        )
        + row('forward', 63, **ours, nchw=1, channels_last=1)  # cut off
    )
    out = tmp_path / 'table.py'
    tool('make_cudnn_table').main([str(path), '--out', str(out)])
    found = {}
    exec(out.read_text(), found)
    assert found['TABLE'] == {'bfloat16': {(7, 14, 64): 'toto', (31, 14, 64): 'oooo'}}

    monkeypatch.setattr(cuda, 'TABLE', found['TABLE'])
    cuda.torch_is_faster.cache_clear()
    half = torch.float16
    assert cuda.torch_is_faster(half, 9, 20, 8, False, False)
    assert not cuda.torch_is_faster(half, 9, 20, 8, False, True)
    assert not cuda.torch_is_faster(half, 31, 14, 0, False, False)
    assert not cuda.torch_is_faster(torch.float32, 7, 14, 64, False, False)
    cuda.torch_is_faster.cache_clear()


def test_the_table_in_use_is_whole():
    for sizes in cuda.TABLE.values():
        assert all(set(letters) <= set('ot') for letters in sizes.values())
        assert all(len(letters) == 4 for letters in sizes.values())
