"""A training step of SMP-TCN against the original's formulation, in one run.

The original makes each kernel by a product of all points with all places, and
convolves with one einsum over the spectra of the padded input and kernel. Here
that formulation takes the place of the layer in the same network; both start
from the same weights and their outputs are compared first. Untrained points lie
near the current sample, and ours leaves out the empty rest of a kernel; "spread"
is ours with points all over it, the least favourable case. Each contender runs
in a process of its own, so that its peak memory is the process's: the largest
resident size (ru_maxrss), and how far that lies above the size before the first
step. Times are medians in milliseconds of forward, backward and Adam step.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys

import torch
import torch.nn.functional as F
from torch import nn

from smpconv_mm.apis.benchmark import environment, measure, table, write
from smpconv_mm.layers import SMPConv1d, SMPKernel
from smpconv_mm.models import SMPTCN

# name, batch, length, radius: sMNIST and raw Speech Commands
CASES = [('sMNIST', 64, 784, 0.002), ('Speech raw', 8, 16000, 0.0002)]
CONTENDERS = ('original', 'ours', 'spread')


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


def memory() -> float:
    """Largest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def contend(case: tuple, contender: str, seconds: float) -> dict:
    """Time and peak memory of one contender; called in a fresh process."""
    name, batch, length, radius = case
    net = network(contender, length, radius)
    x, y = torch.randn(batch, 1, length), torch.randint(10, (batch,))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    before = memory()

    def step():
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

    time = measure(step, 'cpu', seconds)
    peak = memory()
    return dict(
        case=name,
        batch=batch,
        length=length,
        contender=contender,
        step=time,
        peak_mib=peak,
        above_start_mib=peak - before,
    )


@torch.no_grad()
def compare(case: tuple) -> float:
    """Largest difference of the outputs, relative to the largest output."""
    _, _, length, radius = case
    x = torch.randn(2, 1, length)
    a, b = (network(c, length, radius).eval()(x) for c in ('original', 'ours'))
    return float((a - b).abs().max() / b.abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--seconds', type=float, default=10.0, help='per measurement')
    parser.add_argument('--json', help='write the results here')
    parser.add_argument('--only', nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.only:
        index, contender = int(args.only[0]), args.only[1]
        print(json.dumps(contend(CASES[index], contender, args.seconds)))
        return
    print(environment('cpu'))
    rows = []
    for index, case in enumerate(CASES):
        print(f'{case[0]}: outputs differ by {compare(case):.1e}')
        for contender in CONTENDERS:
            command = [sys.executable, __file__, '--only', str(index), contender]
            command += ['--threads', str(args.threads), '--seconds', str(args.seconds)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            row = json.loads(done.stdout.splitlines()[-1])
            if contender == 'original':
                base = row
            for key in ('step', 'peak_mib', 'above_start_mib'):
                row[f'{key} x'] = base[key] / row[key]
            rows.append(row)
            print(table(rows).splitlines()[-1], flush=True)
    print('\n' + table(rows))
    write(args.json, 'cpu', rows)


if __name__ == '__main__':
    main()
