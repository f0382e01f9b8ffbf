"""UniRepLKNet at inference in deploy form, with our depthwise operation and torch's.

Contenders: the operations of the authors' program (torch's convolution on contiguous
maps, torch's norm); our network with torch's convolution; and with our operation. Times
are medians in milliseconds; "x" is how many times faster than the first.
"""

from __future__ import annotations

from functools import partial

import torch

from smpconv_mm.apis.benchmark import finish, options, run, settings, start
from smpconv_mm.layers import accelerate
from smpconv_mm.models import UniRepLKNet


def scale_of_authors(grn, x):
    """GlobalResponseNorm.scale with torch's norm."""
    size = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
    return grn.gamma * (size / (size.mean(-1, keepdim=True) + grn.eps)) + 1


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__, 'batch', 'size', seconds=10.0, rounds=5)
    parser.add_argument('--archs', nargs='+', default=['t', 's'], help='sizes')
    args = start(parser, argv)
    images = torch.randn(args.batch, 3, args.size, args.size, device=args.device)

    def prepare(arch, contender):
        torch.manual_seed(0)
        model = UniRepLKNet(arch, deploy=True).eval().to(args.device)
        accelerate(model, enable=contender == 'ours')
        if contender == "authors'":
            # blocks keep the layout of their input
            for layer in model.downsample_layers:
                layer.register_forward_hook(lambda _, __, out: out.contiguous())
            for stage in model.stages:
                for block in stage:
                    block.grn.scale = partial(scale_of_authors, block.grn)

        @torch.no_grad()
        def infer():
            return model(images)

        return dict(inference=infer)

    rows = run(
        {f'UniRepLKNet-{arch.upper()}': arch for arch in args.archs},
        {name: name for name in ("authors'", "torch's conv2d", 'ours')},
        prepare,
        **settings(args),
        base="authors'",
    )
    finish(rows, args)


if __name__ == '__main__':
    main()
