"""UniRepLKNet at inference in deploy form, with our depthwise operation and torch's.

Contenders: torch's convolution on contiguous maps, as in the authors' program; the same
on channels-last maps; and our operation. All else is the same. Times are medians in
milliseconds; "x" is how many times faster than the first.
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

    def prepare(arch, contender):
        torch.manual_seed(0)
        model = UniRepLKNet(arch, deploy=True).eval().to(args.device)
        accelerate(model, enable=contender == 'ours')
        if contender == 'contiguous':
            # blocks keep the layout of their input
            for layer in model.downsample_layers:
                layer.register_forward_hook(lambda _, __, out: out.contiguous())

        @torch.no_grad()
        def infer():
            return model(images)

        return dict(inference=infer)

    rows = run(
        {f'UniRepLKNet-{arch.upper()}': arch for arch in args.archs},
        {f"torch's, {layout}": layout for layout in ('contiguous', 'channels-last')}
        | {'ours': 'ours'},
        prepare,
        **settings(args),
        base="torch's, contiguous",
    )
    finish(rows, args)


if __name__ == '__main__':
    main()
