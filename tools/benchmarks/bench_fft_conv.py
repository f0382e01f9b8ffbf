"""Causal convolution: where a transform overtakes the direct sum.

Times are medians in milliseconds of forward and backward.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch

from smpconv_mm.apis.benchmark import environment, measure, table, write
from smpconv_mm.ops import causal_conv1d


def step(method, x, kernel, grad):
    """Forward and backward."""
    out = causal_conv1d(x, kernel, method=method)
    torch.autograd.grad(out, (x, kernel), grad)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument('--threads', type=int, default=2, help='of the CPU')
    parser.add_argument('--channels', type=int, default=30)
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--seconds', type=float, default=0.5, help='per measurement')
    parser.add_argument('--json', help='write the results here')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(environment(args.device))
    rows = []
    for length in (64, 182, 784, 2048):
        for taps in (t for t in (8, 16, 32, 64, 128, 256, 784, 2048) if t <= length):
            c = args.channels
            x = torch.randn(args.batch, c, length, device=args.device)
            kernel = torch.randn(c, c, taps, device=args.device)
            x, kernel = x.requires_grad_(), kernel.requires_grad_()
            grad = torch.randn_like(x)
            row = dict(length=length, taps=taps)
            for method in ('direct', 'fft'):
                function = partial(step, method, x, kernel, grad)
                row[method] = measure(function, args.device, args.seconds)
            row['direct / fft'] = row['direct'] / row['fft']
            rows.append(row)
    print(table(rows))
    write(args.json, args.device, rows)


if __name__ == '__main__':
    main()
