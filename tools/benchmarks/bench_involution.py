"""Involution: every backend that runs here, in one run.

Times are medians in milliseconds. "x" is how many times faster a backend is than
windows written out (im2col) in torch. "floor" is the least time of any one pass: the
input, the weight and the output moved once at the speed of a large copy, measured
here; "forward / floor" is how many times as long the pass took. "memory" is the peak
in MB of forward and backward beyond what they are given.
"""

from __future__ import annotations

from functools import partial

import torch

from smpconv_mm.apis.benchmark import (
    finish,
    forget_peak,
    in_new_process,
    measure,
    memory,
    options,
    passes,
    run,
    settings,
    start,
)
from smpconv_mm.ops import backends, dispatch, involution

# channels and side of the map of RedNet's stages, groups of 16 channels
STAGES = [(64, 56), (128, 56), (256, 28), (512, 14), (512, 7)]
WIDTH, K = 16, 7


def make(channels: int, side: int, batch: int, dtype: torch.dtype, device: str):
    """Input and weight."""
    make = dict(dtype=dtype, device=device)
    weight = (batch, channels // WIDTH, K, K, side, side)
    x = torch.randn(batch, channels, side, side, **make)
    return x, torch.randn(weight, **make) / K


def peak(backend: str, *case) -> float:
    """MB of forward and backward beyond what they are given."""
    device = case[-1]

    def step(x, weight):
        leaves = x.requires_grad_(), weight.requires_grad_()
        out = involution(*leaves, backend=backend)
        torch.autograd.grad(out, leaves, torch.ones_like(out))

    step(*make(WIDTH, K, 1, *case[3:]))  # what loads once
    tensors = make(*case)
    before = memory(device)
    forget_peak(device)
    step(*tensors)
    return memory(device, peak=True) - before


def bandwidth(device: str) -> float:
    """Bytes a millisecond that a large copy reads and writes."""
    size = 2**28 if device == 'cpu' else 2**30
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / measure(lambda: target.copy_(source), device)


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__, 'dtype', 'batch')
    batch = 64 if torch.cuda.is_available() else 2
    parser.set_defaults(dtype='float32', batch=batch)
    parser.add_argument('--backends', nargs='+', help='by default all that run here')
    args = start(parser, argv)
    speed = bandwidth(args.device)
    print(f'{args.dtype}, batch {args.batch}; a copy moves {speed / 1e6:.0f} GB/s')

    def prepare(case, backend):
        case = (*case, args.batch, args.dtype, args.device)
        x, weight = make(*case)
        rest = (1, K // 2, 1, False, False)
        if dispatch.find('involution', backend).unsupported(x, weight, *rest):
            return None
        measure_peak = peak if args.device != 'cpu' else partial(in_new_process, peak)
        found = dict(memory=measure_peak(backend, *case))
        found['floor'] = (2 * x.nbytes + weight.nbytes) / speed
        return {**found, **passes(partial(involution, backend=backend), x, weight)}

    rows = run(
        {f'{channels}x{side}x{side}': (channels, side) for channels, side in STAGES},
        {name: name for name in args.backends or backends('involution')},
        prepare,
        **settings(args),
        base='unfold',
        ratios=['memory'],
    )
    for row in rows:
        for name in ('forward', 'dx', 'dw'):
            row[f'{name} / floor'] = row[name] / row['floor']
    finish(rows, args)


if __name__ == '__main__':
    main()
