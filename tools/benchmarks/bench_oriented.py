"""Oriented 1-D kernels: ours against torch's horizontal (1, K) kernel, in one run.

The protocol of Table 5 of the paper: 512 channels, maps of 14, 28 and 56, 7 and 31
taps, stride 1, no bias; there with --dtype float32 --batch 64. Times are medians in
milliseconds; "x" is how many times faster a contender is than F.conv2d with a (1, K)
kernel on contiguous maps. "floor" is what a step's three passes take at least: each
reads and writes the maps once, at the measured speed of a copy.
"""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F

from smpconv_mm.apis.benchmark import (
    bandwidth,
    finish,
    options,
    passes,
    run,
    settings,
    start,
)
from smpconv_mm.ops import oriented_conv2d

# channels, side of the map, taps: two stages of ConvNeXt-1D-T, then those of the paper
SHAPES = [(96, 56, 31), (384, 14, 31)]
SHAPES += [(512, side, k) for k in (31, 7) for side in (56, 28, 14)]
DEGREES = [0, 22.5, 45, 67.5, 90, 112.5, 135, 157.5]
PUBLISHED = [0, 22.5, 45, 66.75, 90, 112.5, 135, 157.5]


def horizontal(x, weight):
    return F.conv2d(x, weight, padding=(0, weight.shape[-1] // 2), groups=len(weight))


def every_direction(x, weight, backend='auto'):
    """Eight directions over contiguous groups of channels, as in the networks."""
    c = len(weight)
    group = (8 * torch.arange(1, c + 1, device=x.device) - 1) // c
    return oriented_conv2d(x, weight, group * (math.pi / 8), backend=backend)


def one_direction(x, weight, angle):
    angle = torch.full((len(weight),), angle, device=x.device)
    return oriented_conv2d(x, weight, angle)


def contenders(args) -> dict:
    """Convolution, and memory format of the maps."""
    nchw, nhwc = torch.contiguous_format, torch.channels_last
    found = {'(1, K)': (horizontal, nchw), '(1, K) channels_last': (horizontal, nhwc)}
    if args.as_published:
        found.update(
            (f'{d:g}', (partial(one_direction, angle=d), nchw)) for d in PUBLISHED
        )
    elif args.angles:
        for d in DEGREES:
            found[f'{d:g}'] = (partial(one_direction, angle=math.radians(d)), nchw)
    else:
        found['ours'] = (every_direction, nchw)
        found['ours channels_last'] = (every_direction, nhwc)
        found['dense'] = (partial(every_direction, backend='dense'), nhwc)
    return found


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__, 'dtype', 'batch')
    parser.add_argument('--angles', action='store_true', help='each direction alone')
    parser.add_argument(
        '--as-published',
        action='store_true',
        help='with two slips of the measurement in the paper: degrees are passed where '
        'radians are wanted (and 66.75 for 67.5), and the input needs no gradient',
    )
    args = start(parser, argv)
    print(args.dtype, f'batch {args.batch}')
    speed = bandwidth(args.device)
    print(f'a copy moves {speed / 1e6:.0f} GB/s')

    def prepare(case, contender):
        (channels, side, k), (conv, layout) = case, contender
        make = dict(device=args.device, dtype=args.dtype)
        x = torch.randn(args.batch, channels, side, side, **make)
        weight = torch.randn(channels, 1, 1, k, **make) / k**0.5
        calls = passes(conv, x.contiguous(memory_format=layout), weight)
        if args.as_published:
            del calls['dx']
            leaf = weight.clone().requires_grad_()
            calls['step'] = lambda: conv(x, leaf).mean().backward()
        return dict(calls, floor=2 * x.nbytes * (len(calls) - 1) / speed)

    rows = run(
        {f'{c}x{side}x{side} K{k}': (c, side, k) for c, side, k in SHAPES},
        contenders(args),
        prepare,
        **settings(args),
    )
    finish(rows, args)


if __name__ == '__main__':
    main()
