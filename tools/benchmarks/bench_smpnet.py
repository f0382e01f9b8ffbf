"""SMPNet: a training step and inference, ours against F.conv2d on NCHW maps.

Times are medians in milliseconds; "x" is how many times faster ours is than the
same network with all depthwise convolutions by F.conv2d on contiguous maps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from smpconv_mm.apis.benchmark import (
    environment,
    measure,
    network_options,
    table,
    write,
)
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


def main() -> None:
    parser = network_options(__doc__)
    parser.add_argument('--seconds', type=float, default=5.0, help='per measurement')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = True
    batch = args.batch or (8 if args.device == 'cpu' else 64)
    print(environment(args.device), f'batch {batch}')

    torch.manual_seed(0)
    model = SMPNet(args.arch).to(args.device)
    optimizer = torch.optim.AdamW(model.parameters())
    images = torch.randn(batch, 3, args.size, args.size, device=args.device)

    def step():
        optimizer.zero_grad()
        model(images)[-1].square().mean().backward()
        optimizer.step()

    @torch.no_grad()
    def infer():
        return model(images)

    rows = []
    for name, backend in dict(ours='auto', nchw='nchw').items():
        with use_backend('depthwise_conv2d', backend):
            model.train()
            row = dict(contender=name, step=measure(step, args.device, args.seconds))
            model.eval()
            row['inference'] = measure(infer, args.device, args.seconds)
        rows.append(row)
        print(row, flush=True)
    for row in rows:
        for key in ('step', 'inference'):
            row[f'{key} x'] = rows[-1][key] / row[key]
    print('\n' + table(rows))
    write(args.json, args.device, rows)


if __name__ == '__main__':
    main()
