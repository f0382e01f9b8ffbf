"""SMPNet: a training step and inference, ours against F.conv2d on NCHW maps.

Times are medians in milliseconds; "x" is how many times faster ours is than the
same network with all depthwise convolutions by F.conv2d on contiguous maps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from smpconv_mm.apis.benchmark import finish, options, run, settings, start
from smpconv_mm.models import SMPNet
from smpconv_mm.ops import use_backend
from smpconv_mm.ops.dispatch import Backend, register_backend


class Nchw(Backend):
    """torch's convolution of contiguous maps, as other packages call it."""

    name = 'nchw'

    def run(self, input, weight, bias):
        padding = (weight.shape[2] // 2, weight.shape[3] // 2)
        input = input.contiguous()
        return F.conv2d(input, weight, bias, padding=padding, groups=len(weight))


register_backend('depthwise_conv2d', Nchw())


def main(argv: list[str] | None = None) -> None:
    args = start(options(__doc__, 'arch', 'batch', 'size', seconds=5.0), argv)
    torch.manual_seed(0)
    model = SMPNet(args.arch).to(args.device)
    optimizer = torch.optim.AdamW(model.parameters())
    images = torch.randn(args.batch, 3, args.size, args.size, device=args.device)

    def prepare(_, backend):
        def step():
            model.train()
            optimizer.zero_grad()
            with use_backend('depthwise_conv2d', backend):
                model(images)[-1].square().mean().backward()
            optimizer.step()

        @torch.no_grad()
        def infer():
            if model.training:  # else its kernels are kept
                model.eval()
            with use_backend('depthwise_conv2d', backend):
                return model(images)

        return dict(step=step, inference=infer)

    rows = run(
        {f'SMPNet {args.arch}, batch {args.batch}': None},
        dict(ours='auto', nchw='nchw'),
        prepare,
        **settings(args),
        base='nchw',
    )
    finish(rows, args)


if __name__ == '__main__':
    main()
