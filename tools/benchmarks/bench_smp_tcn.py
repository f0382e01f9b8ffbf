"""A training step of SMP-TCN against the original's formulation, in one run.

The original makes each kernel by a product of all points with all places, and
convolves with one einsum over the spectra of the padded input and kernel. Here
that formulation takes the place of the layer in the same network; both start
from the same weights and their outputs are compared first. Untrained points lie
near the current sample, and ours leaves out the empty rest of a kernel; "spread"
is ours with points all over it, the least favourable case. Each contender runs
in a process of its own, whose largest resident size is its peak memory, and how far
that lies above the size before the first step. Times are medians in milliseconds of
forward, backward and Adam step, on the CPU.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from smpconv_mm.apis.benchmark import (
    finish,
    in_new_process,
    measure,
    memory,
    options,
    run,
    start,
)
from smpconv_mm.layers import SMPConv1d, SMPKernel
from smpconv_mm.models import SMPTCN

# batch, length, radius
CASES = {'sMNIST': (64, 784, 0.002), 'Speech raw': (8, 16000, 0.0002)}


class OriginalConv(nn.Module):
    """The original's formulation of a causal convolution made of points."""

    def __init__(self, conv: SMPConv1d) -> None:
        super().__init__()
        self.points = conv.kernel
        grid = torch.linspace(-1, 1, conv.kernel_size[0])
        self.register_buffer('grid', grid, persistent=False)

    def forward(self, x):
        distance = (self.grid - self.points.coord).abs()
        height = F.relu(1 - distance / self.points.radius[..., None])
        active = (height != 0).sum(1, keepdim=True)
        kernel = (self.points.weight @ height) * (1 / (active + 1e-6))
        length = x.shape[-1]
        x = F.pad(x, (kernel.shape[-1], 0))
        kernel = F.pad(kernel, (1, x.shape[-1] - kernel.shape[-1] - 1))
        product = torch.einsum(
            'nif,oif->nof', torch.fft.rfft(x), torch.fft.rfft(kernel).conj()
        )
        return torch.fft.irfft(product, n=x.shape[-1])[..., :length]


def network(contender: str, length: int, radius: float) -> nn.Module:
    torch.manual_seed(0)
    net = SMPTCN(kernel_size=length, radius=radius)
    for module in list(net.modules()):
        if contender == 'original' and hasattr(module, 'smp'):
            module.smp.conv = OriginalConv(module.smp.conv)
        if contender == 'spread' and isinstance(module, SMPKernel):
            nn.init.uniform_(module.coord, -1, 1)
    return nn.Sequential(net, Last(), nn.Linear(30, 10))


class Last(nn.Module):
    def forward(self, outs):
        return outs[-1][..., -1]


def contend(case: tuple, contender: str, seconds: float) -> dict:
    """Time and peak memory of one contender; called in a new process."""
    batch, length, radius = case
    net = network(contender, length, radius)
    x, y = torch.randn(batch, 1, length), torch.randint(10, (batch,))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    before = memory('cpu')

    def step():
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

    time = measure(step, 'cpu', seconds)
    peak = memory('cpu', peak=True)
    return dict(step=time, peak_mib=peak, above_start_mib=peak - before)


@torch.no_grad()
def compare(case: tuple) -> float:
    """Largest difference of the outputs, relative to the largest output."""
    _, length, radius = case
    x = torch.randn(2, 1, length)
    a, b = (network(c, length, radius).eval()(x) for c in ('original', 'ours'))
    return float((a - b).abs().max() / b.abs().max())


def main(argv: list[str] | None = None) -> None:
    args = start(options(__doc__, seconds=10.0, rounds=1), argv)
    for name, case in CASES.items():
        print(f'{name}: outputs differ by {compare(case):.1e}')
    rows = run(
        CASES,
        {name: name for name in ('original', 'ours', 'spread')},
        lambda case, name: in_new_process(contend, case, name, args.seconds),
        ratios=('step', 'peak_mib', 'above_start_mib'),
        only=args.only,
    )
    finish(rows, args)


if __name__ == '__main__':
    main()
