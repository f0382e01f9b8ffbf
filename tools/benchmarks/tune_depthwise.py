"""Try plans of the depthwise CUDA kernels: are they right, and how fast?

    python tools/benchmarks/tune_depthwise.py --passes forward dw --json rows.jsonl

For each pass, shape, dtype and plan: the output's memory is filled with NaN, the result
is compared with a plain sum over taps in float32, then the time is taken with a cold
L2 cache and by graph replay. One row of JSON each, written at once; the planner's own
choice comes first ("plan": ""). A plan that does not fit is counted, not written.
Ends with the best plan of each case, and status 1 if any result was wrong.
"""

from __future__ import annotations

import sys
from collections import Counter
from itertools import product

import gpu_timing as gpu
import torch
from gpu_timing import PASSES, STAGES, dtype_name

from smpconv_mm.ops.extension import use_plan

# name of a pass in a plan -> values to try of each setting, None: as planned
GRIDS = {
    'conv': dict(
        images=[None, 4, 8, 16, 32, 64],
        warps=[None, 4, 7, 8],
        stack=[None, 1, 2, 4],
        segment=[None, 7, 14, 28, 56],
        tiles=[None, 1],
    ),
    'weight': dict(
        segment=[None, 7, 14, 28],
        warps=[None, 4, 8],
        images=[None, 16, 32, 64],
        splits=[None, 1, 2, 4],
        chunk=[None, 4, 8],
        stages=[None, 1, 2],
    ),
}
# relative to the largest number of the exact result
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


def plans(name: str, most_set: int):
    """Plans with up to `most_set` settings, the fewest first."""
    grid = GRIDS[name]
    found = []
    for values in product(*grid.values()):
        chosen = {k: v for k, v in zip(grid, values) if v is not None}
        if len(chosen) <= most_set:
            found.append(chosen)
    found.sort(key=len)
    for chosen in found:
        settings = ','.join(f'{k}={v}' for k, v in chosen.items())
        yield f'{name}:{settings}' if settings else ''


def reference(which: str, x, weight, grad):
    """A pass in float32, a product of shifted maps for each tap."""
    height, width = x.shape[2:]
    k = weight.shape[-1]
    half = k // 2
    taps = weight.float()
    if which == 'dx':
        x, taps = grad, taps.flip(2, 3)
    wide = torch.nn.functional.pad(x.float(), (half,) * 4)
    out = torch.zeros_like(taps if which == 'dw' else x, dtype=torch.float32)
    for u, v in product(range(k), range(k)):
        shifted = wide[:, :, u : u + height, v : v + width]
        if which == 'dw':
            out[:, 0, u, v] = (shifted * grad.float()).sum((0, 2, 3))
        else:
            out.addcmul_(shifted, taps[None, :, 0, u, v, None, None])
    return out


def poisoned(call, like):
    """The result of a call into memory that held NaN."""
    torch.full_like(like, float('nan'))  # freed at once: the output takes its place
    return call()


def main(argv: list[str] | None = None) -> None:
    parser = gpu.parser(__doc__)
    parser.add_argument('--passes', nargs='+', choices=PASSES, default=list(PASSES))
    parser.add_argument('--dtypes', nargs='+', default=['bfloat16'])
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--stages', nargs='+', type=int, default=[0, 1, 2, 3])
    parser.add_argument('--settings', type=int, default=2, help='most of a plan')
    args = parser.parse_args(argv)
    rows, timer = gpu.start(args)
    rows.add_environment()
    wrong, best = 0, []
    for dtype, stage, which in product(args.dtypes, args.stages, args.passes):
        dtype = getattr(torch, dtype)
        channels, side, kernel = STAGES[stage]
        x, weight, grad = gpu.make(args.batch, channels, side, kernel, dtype)
        call = gpu.ours(which, x, weight, grad)
        some = slice(0, channels, max(1, channels // 3))  # the reference is slow
        expected = reference(which, x[:, some], weight[some], grad[:, some])
        case = dict(dtype=dtype_name(dtype), batch=args.batch, which=which)
        case.update(channels=channels, side=side, kernel=kernel)
        refused, found = Counter(), []
        for plan in plans('weight' if which == 'dw' else 'conv', args.settings):
            if rows.late():
                break
            with use_plan(plan):
                try:
                    result = poisoned(call, weight if which == 'dw' else x)
                    torch.cuda.synchronize()
                except RuntimeError as error:
                    if 'SMPCONV_MM_PLAN' not in str(error):
                        raise
                    refused[str(error).split('\n')[0][:120]] += 1
                    continue
                result = result[some] if which == 'dw' else result[:, some]
                error = (result.float() - expected).abs().max() / expected.abs().max()
                right = bool(error < TOLERANCE[dtype])  # false for NaN
                times = dict(cold=timer.cold(call), warm=timer.warm(call))
            wrong += not right
            found.append((times['warm'], plan, right))
            rows.add(
                'plans', **case, plan=plan, right=right, error=float(error), **times
            )
        right = [f for f in found if f[2]]
        if right:
            planned = found[0][0]
            summary = dict(best=min(right)[1], warm=min(right)[0], planned=planned)
            best.append((case, summary))
            rows.add('best plan', **case, **summary, refused=sum(refused.values()))
    for case, summary in best:
        print(*case.values(), summary)
    sys.exit(wrong > 0)


if __name__ == '__main__':
    main()
