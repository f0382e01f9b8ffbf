"""The runner of the benchmarks, and that those of operations need torch alone."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from smpconv_mm.apis import benchmark

ROOT = Path(__file__).parents[2]


def test_rows():
    """A row per case and contender; what is timed is compared with the base."""
    seen = []

    def prepare(case, contender):
        if (case, contender) == (2, 4):
            return None
        return dict(
            wait=lambda: time.sleep(case * contender * 1e-3), points=contender, note='a'
        )

    rows = benchmark.run(
        dict(short=1, long=2),
        dict(one=1, four=4),
        prepare,
        seconds=0.1,
        rounds=2,
        base='one',
        ratios=('points',),
        report=seen.append,
    )
    assert rows == seen
    assert [(row['case'], row['contender']) for row in rows] == [
        ('short', 'one'),
        ('short', 'four'),
        ('long', 'one'),
    ]
    one, four, long = rows
    assert list(one)[2:] == ['wait', 'points', 'note', 'wait x', 'points x']
    assert one['wait x'] == one['points x'] == 1 and one['note'] == 'a'
    assert 1 <= one['wait'] < four['wait'] and 4 <= four['wait']
    assert four['wait x'] < 0.6 and four['points x'] == 0.25
    assert long['wait'] >= 2


def test_passes():
    """Each is what differentiation gives."""
    x, weight = torch.randn(3, 4), torch.randn(4, 2)
    calls = benchmark.passes(torch.matmul, x, weight)
    assert torch.equal(calls['forward'](), x @ weight)
    (dx,), (dw,) = calls['dx'](), calls['dw']()
    assert all(map(torch.equal, calls['step'](), (dx, dw)))
    # both are of one gradient of the output: dx = grad w^T, dw = x^T grad
    grad = dx @ torch.linalg.pinv(weight.T)
    torch.testing.assert_close(x.T @ grad, dw)
    assert not x.requires_grad and not weight.requires_grad


@pytest.mark.skipif(
    not Path('/proc/self/clear_refs').exists(), reason='only Linux tells'
)
def test_memory():
    def peak(size):
        benchmark.forget_peak('cpu')
        before = benchmark.memory('cpu')
        torch.ones(size * 2**18)
        assert benchmark.memory('cpu', peak=True) >= benchmark.memory('cpu') - 1
        return benchmark.memory('cpu', peak=True) - before

    assert 90 < peak(100) < 130
    assert peak(1) < 30


def test_command_line(capsys, tmp_path):
    parser = benchmark.options('of a test', 'dtype', 'batch', seconds=3.0)
    with pytest.raises(SystemExit):
        benchmark.start(parser, ['-h'])
    assert 'of a test' in capsys.readouterr().out
    threads = torch.get_num_threads()
    path = tmp_path / 'deep/rows.json'
    args = benchmark.start(
        parser, ['--device', 'cpu', '--json', str(path), '--threads', str(threads)]
    )
    assert (args.dtype, args.batch, args.seconds) == (torch.float32, 8, 3.0)
    rows = [dict(case='a', ms=1.234, share=dict(b=1)), dict(case='b', ms=2.0, more=3)]
    benchmark.finish(rows, args)
    out = capsys.readouterr().out
    assert '1.23' in out and 'more' in out and 'share' not in out
    written = json.loads(path.read_text())
    assert written['rows'] == rows
    assert written['environment']['torch'] == torch.__version__


ALONE = """
import sys
for name in ('mmengine', 'mmcv', 'mmpretrain', 'rich', 'matplotlib', 'sklearn', 'cv2'):
    sys.modules[name] = None  # cannot be imported
import importlib.util as util
find = util.find_spec
util.find_spec = lambda name, *a: None if name == 'mmengine' else find(name, *a)
import runpy
for tool, case in (
    ('depthwise', '768x7x7 K13'), ('fft_conv', '64 samples, 8'), ('smp_kernel', 'MFCC')
):
    sys.argv = [tool, '--device=cpu', '--seconds=0', '--rounds=1', '--only', case]
    runpy.run_path(f'tools/benchmarks/bench_{tool}.py', run_name='__main__')
"""


def test_operations_need_torch_alone():
    done = subprocess.run(
        [sys.executable, '-c', ALONE],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line[0] == '{']
    assert [row['contender'] for row in rows[:3]] == ['ours', 'nchw', 'channels_last']
    assert {'direct', 'fft', 'dense', 'window'} <= {row['contender'] for row in rows}
    assert all(row['step'] > 0 and row['step x'] > 0 for row in rows)
