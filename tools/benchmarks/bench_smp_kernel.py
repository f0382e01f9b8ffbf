"""Making SMP kernels: every backend against the dense formulation, in one run.

Times are medians in milliseconds of value and gradients.
"""

from __future__ import annotations

from functools import partial

import torch

from smpconv_mm import ops
from smpconv_mm.apis.benchmark import finish, options, run, settings, start
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


def main(argv: list[str] | None = None) -> None:
    args = start(options(__doc__), argv)

    def prepare(case, backend):
        groups, slices, points, size, radius, normalize = case
        torch.manual_seed(0)
        tensors = (
            torch.rand(groups, points, len(size), device=args.device) * 2 - 1,
            torch.full((groups, points), radius, device=args.device),
            torch.randn(groups, slices, points, device=args.device) * 0.02,
        )
        tensors = [t.requires_grad_() for t in tensors]
        auto = dispatch.choose('smp_kernel', 'auto', *tensors, size, normalize).name
        grad = torch.randn(groups, slices, *size, device=args.device)
        call = partial(step, backend, tensors, size, normalize, grad)
        return dict(step=call, chosen='auto' if auto == backend else '')

    rows = run(
        {name: case for name, *case in CASES},
        {name: name for name in ops.backends('smp_kernel')},
        prepare,
        **settings(args),
        base='dense',
    )
    finish(rows, args)


if __name__ == '__main__':
    main()
