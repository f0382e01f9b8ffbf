"""Training steps of FlexNet-7 and FlexTCN-6 against the published formulas.

In the plain network the same parameters make the kernel as the paper writes it:
point-wise convolutions, filter by filter, on the cropped grid, the kernel times the
mask; then a convolution, of images by sums over taps, of sequences by Fourier
transforms where the kernel is longer than 50 taps. Both start from the same weights,
and their outputs are compared first. Masks are those of the start, or so wide that
nothing is cropped. Times are medians in milliseconds of forward, backward and a step of
Adam.
"""

from __future__ import annotations

from math import log, sqrt

import torch
import torch.nn.functional as F
from torch import nn

from smpconv_mm.apis.benchmark import finish, options, run, settings, start
from smpconv_mm.layers import FlexConv1d, FlexConv2d
from smpconv_mm.models import FlexNet, FlexTCN

# network, shape of a batch, sigma of the masks
CASES = {
    'FlexNet-7, start': (FlexNet, (16, 3, 32, 32), 0.075),
    'FlexNet-7, full field': (FlexNet, (16, 3, 32, 32), 1.0),
    'FlexTCN-6, start': (FlexTCN, (64, 1, 784), 0.075),
    'FlexTCN-6, full field': (FlexTCN, (64, 1, 784), 2.0),
}


class PlainConv(nn.Module):
    """The formulas, with the parameters of a layer."""

    def __init__(self, conv: FlexConv1d | FlexConv2d) -> None:
        super().__init__()
        self.kernel, self.bias = conv.kernel, conv.bias
        self.ndim = conv.ndim
        self.taps = conv.kernel_size[0]

    def pointwise(self, linear: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        weight = linear.weight.reshape(*linear.weight.shape, *[1] * self.ndim)
        return (F.conv1d if self.ndim == 1 else F.conv2d)(x, weight, linear.bias)

    def filter(self, filter: nn.Module, x: torch.Tensor) -> torch.Tensor:
        shape = (1, *filter.mu.shape, *[1] * self.ndim)
        squared = (
            filter.gamma.view(shape) * (x.unsqueeze(1) - filter.mu.view(shape))
        ) ** 2
        return torch.exp(-0.5 * squared.sum(2)) * torch.sin(
            self.pointwise(filter.linear, x)
        )

    def crop(self, grid: torch.Tensor) -> torch.Tensor:
        mean, sigma = self.kernel.mask_params.detach().unbind(1)
        reach = sigma.abs() * sqrt(-2 * log(0.1))
        if self.ndim == 1:
            root = float(mean - reach)
            return grid[..., grid[0, 0] > root] if abs(root) < 1 else grid
        kept = [line.abs() < float(m.abs() + r) for line, m, r in zip(
            (grid[0, 0, :, 0], grid[0, 1, 0]), mean, reach)]  # fmt: skip
        return grid[:, :, kept[0]][..., kept[1]]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        line = torch.linspace(-1, 1, self.taps, device=x.device)
        grid = torch.stack(torch.meshgrid(*[line] * self.ndim, indexing='ij'))[None]
        grid = self.crop(grid)
        net = self.kernel.net
        z = self.filter(net.filters[0], grid)
        for linear, filter in zip(net.linears, net.filters[1:]):
            z = self.filter(filter, grid) * self.pointwise(linear, z)
        kernel = self.pointwise(net.output, z)
        kernel = kernel.view(-1, x.shape[1], *grid.shape[2:])
        for axis, (mean, sigma) in enumerate(self.kernel.mask_params):
            kernel = kernel * torch.exp(-0.5 * ((grid[0, axis] - mean) / sigma) ** 2)
        if self.ndim == 2:
            return F.conv2d(x, kernel, self.bias, padding=kernel.shape[-1] // 2)
        if kernel.shape[-1] % 2 == 0:
            kernel = F.pad(kernel, (1, 0))
        length = x.shape[-1]
        x = F.pad(x, (kernel.shape[-1] - 1, 0))
        if kernel.shape[-1] <= 50:
            return F.conv1d(x, kernel, self.bias)
        size = x.shape[-1]
        spectrum = torch.fft.rfft(F.pad(kernel, (0, size - kernel.shape[-1])))
        product = torch.einsum('nif,oif->nof', torch.fft.rfft(x), spectrum.conj())
        out = torch.fft.irfft(product, n=size)[..., :length]
        return out + self.bias[:, None]


def network(kind: type, sigma: float, plain: bool, device: str) -> nn.Module:
    torch.manual_seed(0)
    net = kind()
    for module in list(net.modules()):
        conv = getattr(getattr(module, 'smp', None), 'conv', None)
        if conv is not None:
            nn.init.constant_(conv.kernel.mask_params[:, 1].detach(), sigma)
            if plain:
                module.smp.conv = PlainConv(conv)
    return net.to(device)


def main(argv: list[str] | None = None) -> None:
    args = start(options(__doc__, seconds=10.0, rounds=3), argv)

    @torch.no_grad()
    def compare(kind, shape, sigma):
        x = torch.randn(1, *shape[1:], device=args.device)
        nets = [network(kind, sigma, p, args.device).eval() for p in (True, False)]
        plain, ours = (net(x)[0] for net in nets)
        return float((plain - ours).abs().max() / plain.abs().max())

    def prepare(case, plain):
        kind, shape, sigma = case
        net = network(kind, sigma, plain, args.device)
        x = torch.randn(shape, device=args.device)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)

        def step():
            optimizer.zero_grad()
            net(x)[0].square().mean().backward()
            optimizer.step()

        return dict(step=step)

    for name, case in CASES.items():
        if not args.only or any(part in name for part in args.only):
            print(f'{name}: outputs differ by {compare(*case):.1e}')
    rows = run(CASES, dict(plain=True, ours=False), prepare, **settings(args))
    finish(rows, args)


if __name__ == '__main__':
    main()
