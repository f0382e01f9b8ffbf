"""UniRepLKNet at inference in deploy form, with our depthwise operation and torch's.

The network is one and the same, as are its maps in memory; only what computes the
depthwise convolutions differs. Times are medians in milliseconds; "x" is how many times
faster than with torch's convolution.
"""

from __future__ import annotations

import torch

from smpconv_mm.apis.benchmark import finish, options, run, settings, start
from smpconv_mm.layers import accelerate
from smpconv_mm.models import UniRepLKNet


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__, 'batch', 'size', seconds=10.0, rounds=5)
    parser.add_argument('--archs', nargs='+', default=['t', 's'], help='sizes')
    args = start(parser, argv)
    images = torch.randn(args.batch, 3, args.size, args.size, device=args.device)

    def prepare(arch, ours):
        torch.manual_seed(0)
        model = UniRepLKNet(arch, deploy=True).eval().to(args.device)
        accelerate(model, enable=ours)

        @torch.no_grad()
        def infer():
            return model(images)

        return dict(inference=infer)

    rows = run(
        {f'UniRepLKNet-{arch.upper()}': arch for arch in args.archs},
        {"torch's conv2d": False, 'ours': True},
        prepare,
        **settings(args),
        base="torch's conv2d",
    )
    finish(rows, args)


if __name__ == '__main__':
    main()
