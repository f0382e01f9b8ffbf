"""Making SMP kernels: every backend against the dense formulation, in one run.

Times are medians in milliseconds of value and gradients.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch

from smpconv_mm import ops
from smpconv_mm.apis.benchmark import environment, measure, table, write
from smpconv_mm.ops import dispatch

# name, sets of points, slices, points, size, radius, normalize
CASES = [
    ('speech raw', 30, 30, 30, (16000,), 0.0002, True),
    ('sMNIST', 30, 30, 30, (784,), 0.002, True),
    ('speech MFCC', 30, 30, 30, (161,), 0.012, True),
    ('CIFAR10', 48, 48, 16, (33, 33), 0.12, True),
    ('SMPNet-T stage 1', 1, 96, 240, (31, 31), 4 / 31, False),
    ('SMPNet-T stage 2', 1, 192, 210, (29, 29), 4 / 29, False),
    ('SMPNet-T stage 3', 1, 384, 182, (27, 27), 4 / 27, False),
    ('SMPNet-T stage 4', 1, 768, 42, (13, 13), 4 / 13, False),
    ("each channel's own points", 96, 1, 60, (31, 31), 0.3, True),
]


def step(backend, tensors, size, normalize, grad):
    """Value and gradients."""
    kernel = ops.smp_kernel(*tensors, size, normalize=normalize, backend=backend)
    torch.autograd.grad(kernel, tensors, grad)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument('--threads', type=int, default=2, help='of the CPU')
    parser.add_argument('--seconds', type=float, default=1.0, help='per measurement')
    parser.add_argument('--json', help='write the results here')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(environment(args.device))
    rows = []
    for name, groups, slices, points, size, radius, normalize in CASES:
        torch.manual_seed(0)
        tensors = (
            torch.rand(groups, points, len(size), device=args.device) * 2 - 1,
            torch.full((groups, points), radius, device=args.device),
            torch.randn(groups, slices, points, device=args.device) * 0.02,
        )
        tensors = [t.requires_grad_() for t in tensors]
        auto = dispatch.choose('smp_kernel', 'auto', *tensors, size, normalize).name
        grad = torch.randn(groups, slices, *size, device=args.device)
        times = {}
        for backend in ops.backends('smp_kernel'):
            function = partial(step, backend, tensors, size, normalize, grad)
            times[backend] = measure(function, args.device, args.seconds)
        row = dict(case=name, places='x'.join(map(str, size)), points=points, auto=auto)
        row.update(times)
        row['x of auto'] = times['dense'] / times[auto]
        rows.append(row)
    print(table(rows))
    write(args.json, args.device, rows)


if __name__ == '__main__':
    main()
