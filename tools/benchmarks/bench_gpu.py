"""Measure the CUDA operators: ceilings of the GPU, passes, contenders.

    python tools/benchmarks/bench_gpu.py ceilings shapes --json rows.jsonl

Needs torch alone. One row of JSON a measurement, written at once, so that a run
that is cut off leaves what it has. Times are medians in microseconds: `cold` by
events after the L2 cache was overwritten, `warm` by replaying a CUDA graph.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

# channels, side of the map, side of the kernel: the stages of SMPNet-T
STAGES = [(96, 56, 31), (192, 28, 29), (384, 14, 27), (768, 7, 13)]
PASSES = ('forward', 'dx', 'dw')


class Timer:
    """Times of a call on the current stream, each within about `seconds`."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.flush = torch.empty(256 * 2**20, dtype=torch.uint8, device='cuda')

    def _event_times(self, call, repeats: int, cold: bool) -> list[float]:
        pairs = []
        for _ in range(repeats):
            if cold:
                self.flush.zero_()
            # so that the call is queued before its turn comes
            torch.cuda._sleep(100_000)
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            pairs.append((start, end))
        torch.cuda.synchronize()
        return [1e3 * start.elapsed_time(end) for start, end in pairs]

    def __call__(self, call) -> dict:
        """`cold`, `warm` and `eager` (queueing included) in microseconds."""
        call()
        first = self._event_times(call, 1, cold=True)[0]
        repeats = int(max(3, min(30, 1e6 * self.seconds / 3 / (first + 250))))
        times = dict(cold=statistics.median(self._event_times(call, repeats, True)))
        count = int(max(1, min(20, 1e6 * self.seconds / 10 / first)))
        start = time.perf_counter()
        for _ in range(count):
            call()
        torch.cuda.synchronize()
        times['eager'] = 1e6 * (time.perf_counter() - start) / count
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(count):
                call()
        graph.replay()
        replays = self._event_times(graph.replay, 3, cold=False)
        times['warm'] = statistics.median(replays) / count
        return times


def library_call(layout, name, x, w, grad):
    """A pass by torch's own convolution, with maps in a memory format."""
    x, grad = (t.contiguous(memory_format=layout) for t in (x, grad))
    padding, groups = [w.shape[2] // 2, w.shape[3] // 2], len(w)
    if name == 'forward':
        return lambda: F.conv2d(x, w, padding=padding, groups=groups)
    mask = [name == 'dx', name == 'dw', False]
    return lambda: torch.ops.aten.convolution_backward(
        grad, x, w, None, [1, 1], padding, [1, 1], False, [0, 0], groups, mask
    )


def our_call(name, x, w, grad):
    """A pass by the compiled operators."""
    ext = torch.ops.smpconv_mm_ext
    if name == 'dw':
        return lambda: ext.depthwise_conv2d_weight(x, grad, *w.shape[2:])
    if name == 'dx':
        return lambda: ext.depthwise_conv2d(grad, w.flip(2, 3), None)
    return lambda: ext.depthwise_conv2d(x, w, None)


CONTENDERS = {
    'ours': our_call,
    'nchw': lambda *a: library_call(torch.contiguous_format, *a),
    'channels_last': lambda *a: library_call(torch.channels_last, *a),
}


def make(batch, channels, side, kernel, dtype):
    maps = torch.randn(2, batch, channels, side, side, device='cuda').to(dtype)
    weight = torch.randn(channels, 1, kernel, kernel, device='cuda') / kernel
    return maps[0], weight.to(dtype), maps[1]


class Rows:
    """Writes rows of JSON as they come; knows when to stop."""

    def __init__(self, path, deadline):
        self.file = open(path, 'a') if path else None
        self.deadline = deadline

    def late(self) -> bool:
        return time.monotonic() > self.deadline

    def add(self, part, **row):
        numbers = {
            k: float(f'{v:.5g}') if isinstance(v, float) else v for k, v in row.items()
        }
        line = json.dumps(dict(part=part, **numbers))
        print(line, flush=True)
        if self.file:
            self.file.write(line + '\n')
            self.file.flush()


def environment() -> dict:
    def said(*command):
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        except OSError:
            return ''
        return done.stdout.strip()

    query = '--query-gpu=driver_version,clocks.max.sm,clocks.max.mem,power.limit'
    return dict(
        device=torch.cuda.get_device_name(),
        capability='{}.{}'.format(*torch.cuda.get_device_capability()),
        torch=torch.__version__,
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version(),
        tf32=torch.backends.cudnn.allow_tf32,
        driver=said('nvidia-smi', query, '--format=csv,noheader'),
        commit=said('git', 'describe', '--always', '--dirty'),
        python=sys.version.split()[0],
    )


def ceilings(rows, timer):
    """A copy of 1 GB and a matrix product: what the GPU can do at most."""
    source = torch.empty(512 * 2**20, dtype=torch.uint8, device='cuda')
    target = torch.empty_like(source)
    took = timer(lambda: target.copy_(source))
    rows.add(
        'ceilings', what='copy', TB_s=2 * source.numel() / took['cold'] / 1e6, **took
    )
    for dtype, tf32 in (
        (torch.bfloat16, False),
        (torch.float32, True),
        (torch.float32, False),
    ):
        a, b = torch.randn(2, 8192, 8192, device='cuda').to(dtype)
        torch.backends.cuda.matmul.allow_tf32 = tf32
        took = timer(lambda: a @ b)  # noqa: B023
        what = f'{str(dtype)[6:]}{" tf32" if tf32 else ""} product'
        rows.add('ceilings', what=what, TFLOPs=2 * 8192**3 / took['cold'] / 1e6, **took)
    torch.backends.cuda.matmul.allow_tf32 = False


def shapes(rows, timer):
    """The stages of SMPNet-T, batch 64: ours, then torch's own convolution."""
    for contender in CONTENDERS:
        for dtype in (torch.bfloat16, torch.float32):
            for channels, side, kernel in STAGES:
                tensors = make(64, channels, side, kernel, dtype)
                for name in PASSES:
                    if rows.late():
                        return
                    row = dict(
                        contender=contender,
                        dtype=str(dtype)[6:],
                        batch=64,
                        channels=channels,
                        side=side,
                        kernel=kernel,
                        which=name,
                    )
                    try:
                        row.update(timer(CONTENDERS[contender](name, *tensors)))
                    except RuntimeError as error:
                        row['error'] = str(error).split('\n')[0]
                    rows.add('shapes', **row)


def names(rows, timer):
    """The GPU kernels behind each pass, with their times in a single call."""
    cases = [
        (contender, dtype, stage, name)
        for contender in CONTENDERS
        for dtype in (torch.bfloat16, torch.float32)
        for stage in STAGES
        for name in PASSES
    ]
    calls = []
    for contender, dtype, stage, name in cases:
        call = CONTENDERS[contender](name, *make(16, *stage, dtype))
        call()
        calls.append(call)
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for call in calls:
            torch.cuda._sleep(1000)  # its kernel separates the cases
            call()
        torch.cuda.synchronize()
    found = []
    kernels = [e for e in profile.events() if e.device_type.name == 'CUDA']
    for event in sorted(kernels, key=lambda e: e.time_range.start):
        if 'spin_kernel' in event.name:
            found.append([])
        elif found:
            found[-1].append([event.name[:160], event.time_range.elapsed_us()])
    for (contender, dtype, stage, name), seen in zip(cases, found):
        rows.add(
            'names',
            contender=contender,
            dtype=str(dtype)[6:],
            stage=stage,
            which=name,
            kernels=seen,
        )


def once(rows, timer):
    """Each pass of the first and last stage in bfloat16, once: for a profiler."""
    for stage in (STAGES[0], STAGES[3]):
        tensors = make(64, *stage, torch.bfloat16)
        for name in PASSES:
            CONTENDERS['ours'](name, *tensors)()
    torch.cuda.synchronize()


PARTS = dict(ceilings=ceilings, shapes=shapes, names=names, once=once)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('parts', nargs='+', choices=PARTS)
    parser.add_argument('--json', help='rows are added to this file')
    parser.add_argument('--seconds', type=float, default=0.1, help='a measurement')
    parser.add_argument('--deadline', type=float, default=600, help='of all, in s')
    args = parser.parse_args()
    rows = Rows(args.json, time.monotonic() + args.deadline)
    if not torch.cuda.is_available():
        sys.exit('bench_gpu.py: torch sees no GPU')
    from smpconv_mm.ops.extension import why_not

    if why_not('cuda') is not None:
        sys.exit(f'bench_gpu.py: {why_not("cuda")}')
    torch.backends.cudnn.benchmark = True
    timer = Timer(args.seconds)
    if args.parts != ['once']:
        rows.add('environment', **environment())
    for part in args.parts:
        if not rows.late():
            PARTS[part](rows, timer)


if __name__ == '__main__':
    main()
