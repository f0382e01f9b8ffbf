"""Time a network of SMPNet-T's shape against one of ConvNeXt-T's on a GPU.

Both are made of torch's layers and smpconv_mm.ops alone, so that neither MMEngine nor
mmpretrain is needed: the same layers, widths and depths as the backbones, with a linear
head. Rows: a training step (forward, loss, backward, SGD) and inference, in images a
second and milliseconds; float32, and bfloat16 by autocast. `ms` is wall time as users
see it; `graph_ms` replays the call as a CUDA graph, without the time that the host
takes to queue some thousand kernels.

    python tools/benchmarks/gpu_networks.py --json rows.jsonl
"""

from __future__ import annotations

from collections import Counter

import gpu_timing as gpu
import torch
import torch.nn.functional as F
from torch import nn

from smpconv_mm import ops


class PointKernel(nn.Module):
    """Kernels of one depthwise convolution from points that its channels share.

    They are made at every step of training, and once for inference.
    """

    def __init__(self, channels: int, side: int):
        super().__init__()
        self.channels, self.side = channels, side
        points = side * side // 4
        self.coord = nn.Parameter(torch.empty(1, points, 2))
        nn.init.trunc_normal_(self.coord, std=0.2, a=-1.0, b=1.0)
        self.radius = nn.Parameter(torch.full((1, points), 4 / side))
        self.weight = nn.Parameter(torch.empty(1, channels, points))
        nn.init.trunc_normal_(self.weight, std=0.02)

        self.kept = None

    def train(self, mode: bool = True):
        self.kept = None
        return super().train(mode)

    def forward(self):
        if self.kept is not None:
            return self.kept
        size = (self.side, self.side)
        kernel = ops.smp_kernel(self.coord, self.radius, self.weight, size)
        kernel = kernel.view(self.channels, 1, *size)
        if not self.training:
            self.kept = kernel
        return kernel


class LargeKernel(nn.Module):
    """A kernel of points and a small one beside it, each with its norm."""

    def __init__(self, channels: int, side: int):
        super().__init__()
        self.kernel = PointKernel(channels, side)
        self.small = nn.Parameter(torch.empty(channels, 1, 5, 5).normal_(std=0.02))
        self.norm, self.small_norm = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x):
        large = ops.depthwise_conv2d(x, self.kernel())
        small = F.conv2d(x, self.small, padding=2, groups=len(self.small))
        return self.norm(large) + self.small_norm(small)


def conv(inner: int, outer: int, side: int = 1, stride: int = 1, groups: int = 1):
    made = nn.Conv2d(inner, outer, side, stride, side // 2, groups=groups, bias=False)
    return [made, nn.BatchNorm2d(outer)]


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


def smpnet_tiny(classes: int = 1000) -> nn.Module:
    widths, depths, sides = (96, 192, 384, 768), (2, 2, 8, 2), (31, 29, 27, 13)
    layers, width = [], widths[0]
    for inner, side, stride, groups in (
        (3, 3, 2, 1),
        (width, 3, 1, width),
        (width, 1, 1, 1),
        (width, 3, 2, width),
    ):
        layers += conv(inner, width, side, stride, groups) + [nn.ReLU(inplace=True)]
    for i, (c, depth, side) in enumerate(zip(widths, depths, sides)):
        for _ in range(depth):
            large = [LargeKernel(c, side), nn.ReLU(inplace=True)]
            layers += [
                Residual(
                    nn.BatchNorm2d(c),
                    *conv(c, c),
                    nn.ReLU(inplace=True),
                    *large,
                    *conv(c, c),
                ),
                Residual(
                    nn.BatchNorm2d(c), *conv(c, 4 * c), nn.GELU(), *conv(4 * c, c)
                ),
            ]
        if i < 3:
            wider = widths[i + 1]
            layers += [
                *conv(c, wider),
                nn.ReLU(inplace=True),
                *conv(wider, wider, 3, 2, wider),
                nn.ReLU(inplace=True),
            ]
    head = [nn.BatchNorm2d(c), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *head, nn.Linear(c, classes))


class Norm2d(nn.LayerNorm):
    """LayerNorm over the channels of (N, C, H, W)."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.depthwise = nn.Conv2d(c, c, 7, padding=3, groups=c)
        self.norm = nn.LayerNorm(c, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(c, 4 * c), nn.GELU(), nn.Linear(4 * c, c))
        self.scale = nn.Parameter(torch.full((c,), 1e-6))

    def forward(self, x):
        out = self.depthwise(x).permute(0, 2, 3, 1)
        out = self.mlp(self.norm(out)) * self.scale
        return x + out.permute(0, 3, 1, 2)


def convnext_tiny(classes: int = 1000) -> nn.Module:
    widths, depths = (96, 192, 384, 768), (3, 3, 9, 3)
    layers = [nn.Conv2d(3, widths[0], 4, 4), Norm2d(widths[0], eps=1e-6)]
    for i, (c, depth) in enumerate(zip(widths, depths)):
        if i > 0:
            layers += [Norm2d(widths[i - 1], eps=1e-6)]
            layers += [nn.Conv2d(widths[i - 1], c, 2, 2)]
        layers += [ConvNeXtBlock(c) for _ in range(depth)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(c, eps=1e-6)]
    return nn.Sequential(*layers, *head, nn.Linear(c, classes))


NETWORKS = {
    # name: network, whether its maps are channels-last
    'smpnet-tiny channels_last': (smpnet_tiny, True),
    'convnext-tiny channels_last': (convnext_tiny, True),
    'smpnet-tiny': (smpnet_tiny, False),
    'convnext-tiny': (convnext_tiny, False),
}


def calls(name: str, dtype: torch.dtype, batch: int, size: int, device: str):
    """A training step and an inference, as calls."""
    build, last = NETWORKS[name]
    layout = torch.channels_last if last else torch.contiguous_format
    torch.manual_seed(0)
    network = build().to(device, memory_format=layout)
    x = torch.randn(batch, 3, size, size, device=device).contiguous(
        memory_format=layout
    )
    labels = torch.randint(1000, (batch,), device=device)
    optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9)
    cast = torch.autocast(
        torch.device(device).type, dtype, enabled=dtype != torch.float32
    )

    def step():
        network.train()
        optimizer.zero_grad()
        with cast:
            loss = F.cross_entropy(network(x).float(), labels)
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def infer():
        if network.training:
            network.eval()
        with cast:
            network(x)

    return dict(step=step, inference=infer)


def longest(call, most: int = 24) -> list:
    """The GPU kernels that a call spends most time in: name, number, milliseconds."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities, acc_events=True) as profile:
        call()
        torch.cuda.synchronize()
    count, took = Counter(), Counter()
    for event in profile.events():
        if event.device_type.name == 'CUDA':
            count[event.name[:120]] += 1
            took[event.name[:120]] += event.time_range.elapsed_us() / 1e3
    return [[k, count[k], round(ms, 3)] for k, ms in took.most_common(most)]


def main(argv: list[str] | None = None) -> None:
    parser = gpu.parser(__doc__)
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--size', type=int, default=224)
    args = parser.parse_args(argv)
    rows, timer = gpu.start(args)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    rows.add_environment()
    for dtype in (torch.bfloat16, torch.float32):
        for name in NETWORKS:
            if rows.late():
                return
            found = calls(name, dtype, args.batch, args.size, 'cuda')
            for what, call in found.items():
                for _ in range(2):
                    call()
                torch.cuda.reset_peak_memory_stats()
                took = timer.eager(call) / 1e3
                memory = torch.cuda.max_memory_allocated() / 2**30
                rows.add(
                    'networks',
                    network=name,
                    what=what,
                    dtype=gpu.dtype_name(dtype),
                    batch=args.batch,
                    ms=took,
                    graph_ms=timer.graph(call) / 1e3,
                    images_s=1e3 * args.batch / took,
                    GB=memory,
                )
            if dtype == torch.bfloat16:
                kernels = longest(found['step'])
                rows.add('kernels of a step', network=name, kernels=kernels)


if __name__ == '__main__':
    main()
