"""Causal convolution: where a transform overtakes the direct sum.

Times are medians in milliseconds of forward and backward.
"""

from __future__ import annotations

from functools import partial

import torch

from smpconv_mm.apis.benchmark import finish, options, passes, run, settings, start
from smpconv_mm.ops import causal_conv1d

LENGTHS = (64, 182, 784, 2048)
TAPS = (8, 16, 32, 64, 128, 256, 784, 2048)


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__, seconds=0.5)
    parser.add_argument('--channels', type=int, default=30)
    parser.add_argument('--batch', type=int, default=16)
    args = start(parser, argv)

    def prepare(case, backend):
        (length, taps), c = case, args.channels
        x = torch.randn(args.batch, c, length, device=args.device)
        kernel = torch.randn(c, c, taps, device=args.device)
        calls = passes(partial(causal_conv1d, backend=backend), x, kernel)
        return dict(step=calls['step'])

    rows = run(
        {f'{n} samples, {k} taps': (n, k) for n in LENGTHS for k in TAPS if k <= n},
        {'direct': 'direct', 'fft': 'fft'},
        prepare,
        **settings(args),
    )
    finish(rows, args)


if __name__ == '__main__':
    main()
