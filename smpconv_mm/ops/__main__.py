"""Print the backends of every operation and what ``auto`` takes for a shape."""

from __future__ import annotations

import argparse

import torch

from .dispatch import choose, explain, operations
from .extension import why_not


def main() -> None:
    """Entry point of ``python -m smpconv_mm.ops``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--shape',
        type=int,
        nargs=4,
        default=[8, 96, 56, 56],
        metavar=('N', 'C', 'H', 'W'),
        help='input of the depthwise convolution',
    )
    parser.add_argument('--kernel-size', type=int, default=31)
    parser.add_argument('--dtype', default='float32', help='e.g. float32, bfloat16')
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    args = parser.parse_args()
    dtype = getattr(torch, args.dtype, None)
    if not isinstance(dtype, torch.dtype):
        parser.error(f'--dtype {args.dtype!r} is not a dtype of torch')

    channels, k = args.shape[1], args.kernel_size
    meta = dict(dtype=dtype, device=args.device)
    points = max(1, k * k // 4)
    examples = {
        'depthwise_conv2d': (
            torch.empty(args.shape, **meta),
            torch.empty(channels, 1, k, k, **meta),
            None,
        ),
        'smp_kernel': (
            torch.empty(1, points, 2, **meta),
            torch.full((1, points), 4 / k, **meta),
            torch.empty(1, channels, points, **meta),
            (k, k),
            False,
        ),
        'causal_conv1d': (
            torch.empty(args.shape[0], 30, 784, **meta),
            torch.empty(30, 30, 784, **meta),
        ),
    }
    print(f'torch {torch.__version__}, {args.device}, {args.dtype}')
    print(f'compiled operations: {why_not(torch.device(args.device).type) or "loaded"}')
    for op in operations():
        print(f'\n{op}: auto takes {choose(op, "auto", *examples[op]).name!r} here')
        for line, needs in zip(
            explain(op, *examples[op]).splitlines(), explain(op).splitlines()
        ):
            print(f'  {line}  ({needs.partition(": ")[2]})')


if __name__ == '__main__':
    main()
