"""Measure the depthwise convolution on a GPU against torch's own.

    python tools/benchmarks/bench_gpu.py ceilings ours nchw --json rows.jsonl

Parts: ceilings (a copy, matrix products), ours / nchw / channels_last (the stages of
SMPNet-T, batch 64; torch's convolution on maps of the two memory formats), names (the
kernels behind them), crossovers (ours against torch's for many sizes, from which
make_cudnn_table.py makes the table of the dispatch), once (ours, to be profiled).
One row of JSON a measurement, written at once. `cold`: by events after the L2 cache
was overwritten; `warm`: by replaying a CUDA graph; `eager`: wall time.
"""

from __future__ import annotations

from collections import Counter
from itertools import product

import gpu_timing as gpu
import torch
from gpu_timing import PASSES, STAGES, dtype_name

DTYPES = (torch.bfloat16, torch.float32)

# the grid of the crossovers, and the channels of a network at each side of a map
KERNELS = (7, 9, 13, 31, 63)
CHANNELS = {7: 768, 14: 384, 28: 192, 56: 96, 112: 48}
BATCHES = (64, 8, 1)


def contender(name: str, which: str, x, weight, grad):
    if name == 'channels_last':
        x, grad = gpu.channels_last(x, grad)
    return (gpu.ours if name == 'ours' else gpu.library)(which, x, weight, grad)


def ceilings(rows, timer):
    source = torch.empty(512 * 2**20, dtype=torch.uint8, device='cuda')
    target = torch.empty_like(source)
    took = timer.cold(lambda: target.copy_(source))
    rows.add('ceilings', what='copy', cold=took, TB_s=2 * source.numel() / took / 1e6)
    for dtype, (channels, side, _) in product(DTYPES, STAGES):  # floors of a pass
        source = gpu.make(64, channels, side, 1, dtype)[0]
        target = torch.empty_like(source)
        size = source.numel() * source.element_size()
        took = timer.cold(lambda: target.copy_(source))  # noqa: B023
        what = f'copy of a map, {channels} x {side} x {side}, {dtype_name(dtype)}'
        rows.add('ceilings', what=what, cold=took, TB_s=2 * size / took / 1e6)
    for what, dtype, tf32 in (
        ('bfloat16', torch.bfloat16, False),
        ('tf32', torch.float32, True),
        ('float32', torch.float32, False),
    ):
        a, b = torch.randn(2, 8192, 8192, device='cuda').to(dtype)
        torch.backends.cuda.matmul.allow_tf32 = tf32
        took = timer.cold(lambda: a @ b)  # noqa: B023
        what = f'{what} product'
        rows.add('ceilings', what=what, cold=took, TFLOPs=2 * 8192**3 / took / 1e6)
    torch.backends.cuda.matmul.allow_tf32 = False


def stages(rows, timer, name: str):
    torch.backends.cudnn.benchmark = True
    for dtype, (channels, side, kernel) in product(DTYPES, STAGES):
        tensors = gpu.make(64, channels, side, kernel, dtype)
        for which in PASSES:
            if rows.late():
                return
            row = dict(contender=name, dtype=dtype_name(dtype), batch=64)
            row.update(channels=channels, side=side, kernel=kernel, which=which)
            try:
                row.update(timer.all(contender(name, which, *tensors)))
            except RuntimeError as error:
                row['error'] = str(error).split('\n')[0]
            rows.add('stages', **row)


def names(rows, timer):
    """The GPU kernels of each pass, how often each ran and its microseconds."""
    torch.backends.cudnn.benchmark = True
    cases = list(product(('ours', 'nchw', 'channels_last'), DTYPES, STAGES, PASSES))
    calls = [
        contender(name, which, *gpu.make(16, *stage, dtype))
        for name, dtype, stage, which in cases
    ]
    for call in calls:
        call()
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities, acc_events=True) as profile:
        for call in calls:
            torch.cuda._sleep(1000)  # its kernel separates the cases
            call()
        torch.cuda.synchronize()
    found = []
    events = [e for e in profile.events() if e.device_type.name == 'CUDA']
    for event in sorted(events, key=lambda e: e.time_range.start):
        if 'spin_kernel' in event.name:
            found.append((Counter(), Counter()))
        elif found:
            short = event.name.split('(')[0][:100]
            found[-1][0][short] += 1
            found[-1][1][short] += event.time_range.elapsed_us()
    for (name, dtype, stage, which), (count, took) in zip(cases, found):
        kernels = [[k, count[k], round(took[k], 1)] for k in count]
        row = dict(contender=name, dtype=dtype_name(dtype), stage=stage, which=which)
        rows.add('names', **row, batch=16, kernels=kernels)


def crossovers(rows, timer):
    """Warm times of a pass: of ours, of torch's, and of each on channels-last maps.

    torch's is left out where a first call takes four times as long as ours.
    """
    torch.backends.cudnn.benchmark = False  # as torch sets it
    for dtype, batch, kernel, side in product(DTYPES, BATCHES, KERNELS, CHANNELS):
        channels = CHANNELS[side]
        x, weight, grad = gpu.make(batch, channels, side, kernel, dtype)
        last = gpu.channels_last(x, grad)
        for which in PASSES:
            if rows.late():
                return
            row = dict(dtype=dtype_name(dtype), batch=batch, channels=channels)
            row.update(side=side, kernel=kernel, which=which)
            mine = gpu.ours(which, x, weight, grad)
            row['ours'] = timer.warm(mine)
            row['ours_channels_last'] = timer.warm(
                gpu.ours(which, last[0], weight, last[1])
            )
            for name in ('nchw', 'channels_last'):
                call = contender(name, which, x, weight, grad)
                row[name] = timer.rough(call)[0]
                if row[name] < 4 * timer.rough(mine)[0]:
                    row[name] = timer.warm(call)
            rows.add('crossovers', **row)


def once(rows, timer):
    """Each pass of the first and the last stage in bfloat16, once: to be profiled."""
    for stage in (STAGES[0], STAGES[3]):
        tensors = gpu.make(64, *stage, torch.bfloat16)
        for which in PASSES:
            gpu.ours(which, *tensors)()
    torch.cuda.synchronize()


PARTS = dict(
    ceilings=ceilings,
    ours=lambda *args: stages(*args, 'ours'),
    nchw=lambda *args: stages(*args, 'nchw'),
    channels_last=lambda *args: stages(*args, 'channels_last'),
    names=names,
    crossovers=crossovers,
    once=once,
)


def main(argv: list[str] | None = None) -> None:
    parser = gpu.parser(__doc__)
    parser.add_argument('parts', nargs='+', choices=PARTS)
    args = parser.parse_args(argv)
    rows, timer = gpu.start(args)
    if args.parts != ['once']:
        rows.add_environment()
    for part in args.parts:
        if not rows.late():
            PARTS[part](rows, timer)


if __name__ == '__main__':
    main()
