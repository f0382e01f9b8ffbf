"""Networks of mmpretrain with and without `smpconv_mm.accelerate`, in one run.

Times are medians in milliseconds; "x" is how many times faster the accelerated
network is than the same one as it comes, on contiguous maps.
"""

from __future__ import annotations

import torch

import smpconv_mm
from smpconv_mm.apis.benchmark import finish, options, run, settings, start
from smpconv_mm.registry import MODELS

NETWORKS = {
    'ConvNeXt-T': dict(type='ConvNeXt', arch='tiny'),
    'HorNet-T': dict(type='HorNet', arch='tiny'),
    'VAN-T': dict(type='VAN', arch='tiny'),
    'RepLKNet-31B': dict(type='RepLKNet', arch='31B'),
}


def main(argv: list[str] | None = None) -> None:
    args = start(options(__doc__, 'batch', 'size', seconds=2.0, rounds=2), argv)
    images = torch.randn(args.batch, 3, args.size, args.size, device=args.device)

    def prepare(name, accelerated):
        torch.manual_seed(0)
        cfg = dict(NETWORKS[name], type=f'mmpretrain.{NETWORKS[name]["type"]}')
        model = MODELS.build(cfg).to(args.device)
        if accelerated:
            smpconv_mm.accelerate(model)
        optimizer = torch.optim.SGD(model.parameters(), 1e-4)

        def step():
            model.train()
            optimizer.zero_grad()
            model(images)[-1].square().mean().backward()
            optimizer.step()

        @torch.no_grad()
        def infer():
            model.eval()
            return model(images)

        return dict(step=step, inference=infer)

    rows = run(
        {name: name for name in NETWORKS},
        {'as it comes': False, 'accelerated': True},
        prepare,
        **settings(args),
        base='as it comes',
    )
    finish(rows, args)


if __name__ == '__main__':
    main()
