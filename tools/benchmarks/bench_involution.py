"""Involution: every backend that runs here, in one run.

Times are medians in milliseconds. "floor" is the least time that moving the arrays
takes (each read or written once) at the speed of a large copy measured here, and "x
floor" how many times as long the pass took. "x" says how many times faster a pass is
than with windows written out (im2col) in torch. "memory" is the peak in MiB of forward
and backward beyond input and weight.
"""

from __future__ import annotations

from functools import partial

import torch

from smpconv_mm.apis.benchmark import (
    bandwidth,
    finish,
    forget_peak,
    in_new_process,
    memory,
    options,
    passes,
    run,
    settings,
    start,
)
from smpconv_mm.ops import backends, involution

# channels and side of the map of RedNet's stages, groups of 16 channels
STAGES = [(64, 56), (128, 56), (256, 28), (512, 14), (512, 7)]
WIDTH, K = 16, 7


def make(channels: int, side: int, batch: int, **make):
    """Input and weight."""
    x = torch.randn(batch, channels, side, side, **make)
    return x, torch.randn(batch, channels // WIDTH, K, K, side, side, **make) / K


def peak(backend: str, case: tuple, options: dict) -> float:
    """Peak of forward and backward in MiB, beyond what they are given."""
    function, device = partial(involution, backend=backend), options['device']
    small = dict(options, batch=1)
    passes(function, *make(WIDTH, K, **small))['step']()  # what loads once
    step = passes(function, *make(*case, **options))['step']
    before = memory(device)
    forget_peak(device)
    step()
    return memory(device, peak=True) - before


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__, 'dtype', 'batch')
    parser.add_argument('--backends', nargs='+', help='by default all that run here')
    args = start(parser, argv)
    speed = bandwidth(args.device)
    print(f'{args.dtype}, batch {args.batch}; a copy moves {speed / 1e6:.0f} GB/s')

    def prepare(case, backend):
        options = dict(batch=args.batch, dtype=args.dtype, device=args.device)
        x, weight = make(*case, **options)
        try:
            calls = passes(partial(involution, backend=backend), x, weight)
        except (RuntimeError, MemoryError) as error:
            print(f'{case}, {backend}: {str(error)[:150]}')
            return None
        measure = in_new_process if args.device == 'cpu' else lambda f, *a: f(*a)
        # each pass has input, weight and output
        return dict(
            calls,
            memory=measure(peak, backend, case, options),
            floor=(2 * x.nbytes + weight.nbytes) / speed,
        )

    rows = run(
        {f'{c}x{side}x{side}': (c, side) for c, side in STAGES},
        {name: name for name in args.backends or backends('involution')},
        prepare,
        base='unfold',
        **settings(args),
    )
    for row in rows:
        for name in ('forward', 'dx', 'dw'):
            row[f'{name} x floor'] = row[name] / row['floor']
    finish(rows, args)


if __name__ == '__main__':
    main()
