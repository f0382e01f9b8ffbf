"""Oriented 1-D kernels: ours against torch's horizontal (1, K) kernel, in one run.

The protocol is that of Table 5 of the paper: float32, stride 1, no bias, batch 64, 512
channels, maps of 14, 28 and 56, kernels of 7 and 31 taps. Two slips of the original
measurement are mended: it passed degrees where radians were wanted (and 66.75 for
67.5), and its input needed no gradient. ``--as-published`` repeats both.

Needs torch alone. Times are medians in milliseconds; "floor" is the time that reading
and writing the maps once takes at the measured speed of a copy, of all passes together;
"x" is how many times faster a step is than with the (1, K) kernel on contiguous maps.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from smpconv_mm.apis.benchmark import environment, measure, table, write
from smpconv_mm.ops import oriented_conv2d

DEGREES = [0, 22.5, 45, 67.5, 90, 112.5, 135, 157.5]
PUBLISHED = [0, 22.5, 45, 66.75, 90, 112.5, 135, 157.5]
PAPER = [(512, side, k) for k in (7, 31) for side in (14, 28, 56)]
NETWORKS = [(96, 56, 31), (384, 14, 31)]  # two stages of ConvNeXt-1D-T


def mixed_angles(channels: int, device: str):
    """Eight directions over contiguous groups of channels, as in the networks."""
    group = (8 * torch.arange(1, channels + 1, device=device) - 1) // channels
    return group * (math.pi / 8)


def horizontal(x, weight):
    return F.conv2d(x, weight, padding=(0, weight.shape[-1] // 2), groups=len(weight))


def contenders(device: str, channels: int, per_angle: bool, published: bool):
    """Name, convolution, memory format of the maps."""
    nchw, nhwc = torch.contiguous_format, torch.channels_last
    mixed = mixed_angles(channels, device)
    found = {
        'conv2d (1, K)': (horizontal, nchw),
        'conv2d (1, K) nhwc': (horizontal, nhwc),
        'ours': (partial(oriented_conv2d, angle=mixed), nchw),
        'ours nhwc': (partial(oriented_conv2d, angle=mixed), nhwc),
        'dense': (partial(oriented_conv2d, angle=mixed, backend='dense'), nchw),
    }
    if not per_angle:
        return found
    found = {'conv2d (1, K)': found['conv2d (1, K)']}
    for degrees in PUBLISHED if published else DEGREES:
        angle = degrees if published else math.radians(degrees)
        angle = torch.full((channels,), angle, device=device)
        found[f'{degrees:g}'] = (partial(oriented_conv2d, angle=angle), nchw)
    return found


def passes(conv, x, weight, seconds: float, published: bool):
    """Times of forward, input gradient, weight gradient, and all together."""
    device = x.device.type
    with torch.no_grad():
        grad = torch.randn_like(conv(x, weight))
        times = dict(forward=measure(lambda: conv(x, weight), device, seconds))
    for name, wanted in dict(dx=x, dw=weight).items():
        if published and name == 'dx':
            continue
        for tensor in (x, weight):
            tensor.requires_grad_(tensor is wanted)
        call = partial(
            torch.autograd.grad, conv(x, weight), [wanted], grad, retain_graph=True
        )
        times[name] = measure(call, device, seconds)
    x.requires_grad_(not published)
    weight.requires_grad_()
    leaves = [weight] if published else [x, weight]

    def step():
        torch.autograd.grad(conv(x, weight), leaves, grad)

    return dict(times, step=measure(step, device, seconds))


def copy_speed(device: str, seconds: float) -> float:
    """Bytes a millisecond, read and written, by a copy of much memory."""
    source = torch.empty((512 if device == 'cuda' else 64) * 2**20, dtype=torch.uint8)
    source = source.to(device)
    target = torch.empty_like(source)
    return 2 * source.numel() / measure(lambda: target.copy_(source), device, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument('--dtype', default='float32', help='or bfloat16, float16')
    parser.add_argument('--batch', type=int, help='default: 4 on the CPU, 64 on a GPU')
    parser.add_argument('--shapes', choices=['paper', 'networks'], help='default: all')
    parser.add_argument('--angles', action='store_true', help='each direction alone')
    parser.add_argument(
        '--as-published', action='store_true', help='with the two slips, see above'
    )
    parser.add_argument('--threads', type=int, default=2, help='of the CPU')
    parser.add_argument('--seconds', type=float, default=0.5, help='per measurement')
    parser.add_argument(
        '--deadline', type=float, default=math.inf, help='stop after so many seconds'
    )
    parser.add_argument('--json', help='write the results here')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = True
    dtype = getattr(torch, args.dtype)
    batch = args.batch or (4 if args.device == 'cpu' else 64)
    shapes = dict(paper=PAPER, networks=NETWORKS)
    shapes = shapes[args.shapes] if args.shapes else NETWORKS + PAPER
    stop = time.monotonic() + args.deadline

    print(environment(args.device), dtype, f'batch {batch}')
    speed = copy_speed(args.device, args.seconds)
    print(f'copy: {speed / 1e9:.3f} TB/s')
    rows = []
    for channels, side, k in shapes:
        per_angle = args.angles or args.as_published
        base = None
        for name, (conv, layout) in contenders(
            args.device, channels, per_angle, args.as_published
        ).items():
            if time.monotonic() > stop:
                break
            make = dict(device=args.device, dtype=dtype)
            x = torch.randn(batch, channels, side, side, **make)
            weight = torch.randn(channels, 1, 1, k, **make) / k**0.5
            x = x.contiguous(memory_format=layout)
            times = passes(conv, x, weight, args.seconds, args.as_published)
            base = base or times
            maps = 2 * x.numel() * x.element_size()  # of each pass
            floor = maps / speed
            row = dict(shape=f'{channels}x{side}x{side} K{k}', contender=name, **times)
            row.update(floor=floor * (len(times) - 1), x=base['step'] / times['step'])
            rows.append(row)
            print(table(rows).splitlines()[-1], flush=True)
    print('\n' + table(rows))
    write(args.json, args.device, rows)


if __name__ == '__main__':
    main()
