"""UniRepLKNet: large kernels with dilated parallel ones, and small kernels on top.

Ding et al., "UniRepLKNet: A Universal Perception Large-Kernel ConvNet for Audio, Video,
Point Cloud, Time-Series and Image Recognition", CVPR 2024.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.cnn.bricks import DropPath
from mmpretrain.models.backbones.convnext import ConvNeXt
from mmpretrain.models.utils import SELayer, build_norm_layer
from torch import Tensor, nn

from smpconv_mm.layers import DepthwiseConv2d, DilatedReparamConv2d
from smpconv_mm.layers.reparam import bn_scale_shift, fuse_conv_bn
from smpconv_mm.registry import MODELS

from .base import Backbone, check_stages, run


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of maps, whose output is channels-last in memory.

    mmpretrain's makes its output contiguous, which the layers of a block would undo.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GlobalResponseNorm(nn.Module):
    """GRN of ConvNeXt V2, for maps whose last axis is that of channels.

    mmpretrain's has no form without shift, and overflows in half precision.

    Args:
        channels (int): Number of channels.
        bias (bool): Has a shift, ``beta``. Defaults to True.
        eps (float): Added to the mean over channels. Defaults to 1e-6.
    """

    def __init__(self, channels: int, bias: bool = True, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        # of four axes as the authors', so that they decay
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels)) if bias else None

    def scale(self, x: Tensor) -> Tensor:
        """(N, H, W, C) to (N, 1, 1, C), by what its channels are multiplied."""
        wide = x.double() if x.dtype == torch.float64 else x.float()
        # several times as fast as torch.linalg.vector_norm on the CPU; the smallest
        # number keeps the root's gradient finite where a map is zero
        size = wide.square().sum((1, 2), keepdim=True).clamp(min=1e-38).sqrt()
        size = size / (size.mean(-1, keepdim=True) + self.eps)
        return (self.gamma * size + 1).to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) to the same shape."""
        if self.beta is None:
            return x * self.scale(x)
        return torch.addcmul(self.beta.to(x.dtype), x, self.scale(x))


class UniRepLKNetBlock(nn.Module):
    """Depthwise convolution, squeeze and excitation, feed-forward, with a residual.

    Args:
        channels (int): Channels in and out.
        kernel_size (int): Side of the depthwise kernel: 3 or 5 for a plain one ("SmaK
            block"), from 7 on one with dilated parallel kernels ("LarK block").
        drop_path (float): Rate of stochastic depth. Defaults to 0.
        layer_scale_init_value (float): First value of the scale of the residual
            branch; 0: there is none. Defaults to 1e-6.
        norm_cfg (dict): Batch norms.
        deploy (bool): Build the deploy form. Defaults to False.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        *,
        drop_path: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        norm_cfg: dict,
        deploy: bool = False,
    ) -> None:
        super().__init__()
        if kernel_size >= 7:
            self.depthwise_conv = DilatedReparamConv2d(
                channels, kernel_size, norm_cfg=norm_cfg, deploy=deploy
            )
        else:
            self.depthwise_conv = DepthwiseConv2d(
                channels,
                channels,
                kernel_size,
                padding=kernel_size // 2,
                groups=channels,
                bias=deploy,
            )
        self.norm = nn.Identity() if deploy else build_norm_layer(norm_cfg, channels)
        self.se = SELayer(channels, squeeze_channels=channels // 4)
        self.pointwise_conv1 = nn.Linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.grn = GlobalResponseNorm(4 * channels, bias=not deploy)
        self.pointwise_conv2 = nn.Linear(4 * channels, channels, bias=deploy)
        self.out_norm = (
            nn.Identity() if deploy else build_norm_layer(norm_cfg, channels)
        )
        self.gamma = None
        if layer_scale_init_value > 0 and not deploy:
            self.gamma = nn.Parameter(torch.full((channels,), layer_scale_init_value))
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        out = self.se(self.norm(self.depthwise_conv(x)))
        out = self.act(self.pointwise_conv1(out.permute(0, 2, 3, 1)))
        out = self.pointwise_conv2(self.grn(out)).permute(0, 3, 1, 2)
        out = self.out_norm(out)
        if self.gamma is not None:
            out = out * self.gamma.view(1, -1, 1, 1)
        return x + self.drop_path(out)

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Fold all norms, the shift of the GRN and the scale of the branch."""
        if isinstance(self.norm, nn.Identity):
            return
        scale, shift = bn_scale_shift(self.out_norm)
        gamma = torch.ones_like(scale) if self.gamma is None else self.gamma
        if isinstance(self.depthwise_conv, DilatedReparamConv2d):
            self.depthwise_conv.switch_to_deploy()
            conv = self.depthwise_conv.conv
        else:
            conv = self.depthwise_conv
        weight, bias = fuse_conv_bn(conv.weight, conv.bias, self.norm)
        conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
        linear = self.pointwise_conv2
        bias = linear.weight @ self.grn.beta.flatten() * scale + shift
        linear.weight = nn.Parameter(linear.weight * (scale * gamma)[:, None])
        linear.bias = nn.Parameter(bias * gamma)
        self.grn.beta = self.gamma = None
        self.norm = self.out_norm = self.drop_path = nn.Identity()


@MODELS.register_module()
class UniRepLKNet(Backbone):
    """UniRepLKNet backbone (CVPR 2024, arXiv 2311.15599).

    Args:
        arch (str | dict): ``'a'``, ``'f'``, ``'p'``, ``'n'``, ``'t'``, ``'s'``,
            ``'b'``, ``'l'`` or ``'xl'``, or a dict with lists of equal length, an entry
            a stage: ``channels``, ``depths`` and ``kernel_sizes``, each of those a list
            with a side for each block, odd, from 3 to 17. Defaults to ``'t'``.
        in_channels (int): Channels of the input. Defaults to 3.
        drop_path_rate (float): Stochastic depth of the last block; grows linearly
            from 0 at the first. Defaults to 0.
        layer_scale_init_value (float): First value of the scale of each residual
            branch; 0: there is none. Defaults to 1e-6.
        out_indices (int | Sequence[int]): Stages whose maps are returned; negative
            numbers count from the last. Defaults to -1.
        gap_before_final_norm (bool): Average each returned map over its pixels before
            its norm, for classification. Defaults to True.
        frozen_stages (int): Stages that are not trained, with all before
            them: -1 none, 0 the stem, n the stem and the first n stages.
            Defaults to -1.
        norm_cfg (dict, optional): Batch norms of the blocks. Defaults to None:
            ``dict(type='BN')``. The authors train detectors and segmenters with
            ``dict(type='SyncBN')``.
        with_cp (bool): Recompute activations in the backward pass to save
            memory. Running statistics are then updated twice a step, as in the
            authors' program. Defaults to False.
        deploy (bool): Build the deploy form: one depthwise convolution with bias a
            block, no batch norms. Defaults to False.
        init_cfg (dict | list[dict], optional): Defaults to None, which
            initialises as published: truncated normals of std 0.02.

    Input: images of shape (N, in_channels, H, W), N, H, W at least 1. Output:
    a tuple, an entry each of ``out_indices``, of maps (N, channels[i],
    ~H / 2**(i + 2), ~W / 2**(i + 2)), or with ``gap_before_final_norm`` of vectors
    (N, channels[i]).

    Raises:
        ValueError: If an argument or the shape of an input is wrong.
    """

    _small = dict(
        depths=[2, 2, 6, 2], kernel_sizes=[[3] * 2, [13] * 2, [13] * 6, [13] * 2]
    )
    _large = dict(
        depths=[3, 3, 27, 3],
        kernel_sizes=[[3] * 3, [13] * 3, [13, 3, 3] * 9, [13] * 3],
    )
    arch_settings = {
        'a': dict(channels=[40, 80, 160, 320], **_small),
        'f': dict(channels=[48, 96, 192, 384], **_small),
        'p': dict(channels=[64, 128, 256, 512], **_small),
        'n': dict(
            channels=[80, 160, 320, 640],
            depths=[2, 2, 8, 2],
            kernel_sizes=[[3] * 2, [13] * 2, [13] * 8, [13] * 2],
        ),
        't': dict(
            channels=[80, 160, 320, 640],
            depths=[3, 3, 18, 3],
            kernel_sizes=[[3] * 3, [13] * 3, [13, 3] * 9, [13] * 3],
        ),
        's': dict(channels=[96, 192, 384, 768], **_large),
        'b': dict(channels=[128, 256, 512, 1024], **_large),
        'l': dict(channels=[192, 384, 768, 1536], **_large),
        'xl': dict(channels=[256, 512, 1024, 2048], **_large),
    }

    def __init__(
        self,
        arch: str | dict = 't',
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        out_indices: int | Sequence[int] = -1,
        gap_before_final_norm: bool = True,
        frozen_stages: int = -1,
        norm_cfg: dict | None = None,
        with_cp: bool = False,
        deploy: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        if init_cfg is None:
            init_cfg = [
                dict(
                    type='TruncNormal', layer=['Conv2d', 'Linear'], std=0.02, bias=0.0
                ),
                dict(
                    type='Constant',
                    layer=['_BatchNorm', 'LayerNorm'],
                    val=1.0,
                    bias=0.0,
                ),
            ]
        channels, depths, kernel_sizes = self._parse_arch(arch)
        num_stages = len(channels)
        super().__init__(
            in_channels,
            num_stages,
            out_indices=out_indices,
            with_cp=with_cp,
            deploy=deploy,
            init_cfg=init_cfg,
        )
        check_stages(num_stages, drop_path_rate, frozen_stages)
        self.channels = tuple(channels)
        self.depths = tuple(depths)
        self.gap_before_final_norm = gap_before_final_norm
        self.frozen_stages = frozen_stages
        norm_cfg = norm_cfg or dict(type='BN')
        half = channels[0] // 2
        stem = [*_halve(in_channels, half), nn.GELU(), *_halve(half, channels[0])]
        self.downsample_layers = nn.ModuleList([nn.Sequential(*stem)])
        for narrow, wide in zip(channels, channels[1:]):
            self.downsample_layers.append(nn.Sequential(*_halve(narrow, wide)))
        last = 0.0 if deploy else drop_path_rate
        rates = iter(np.linspace(0.0, last, sum(depths)).tolist())
        self.stages = nn.ModuleList(
            nn.ModuleList(
                UniRepLKNetBlock(
                    width,
                    side,
                    drop_path=next(rates),
                    layer_scale_init_value=layer_scale_init_value,
                    norm_cfg=norm_cfg,
                    deploy=deploy,
                )
                for side in sides
            )
            for width, sides in zip(channels, kernel_sizes)
        )
        for i in self.out_indices:
            self.add_module(f'norm{i}', LayerNorm2d(channels[i], eps=1e-6))
        self._freeze_stages()

    def _parse_arch(self, arch: str | dict) -> tuple[list, list, list]:
        if isinstance(arch, str):
            if arch.lower() not in self.arch_settings:
                raise ValueError(
                    f'arch {arch!r} is unknown; choose one of '
                    f'{", ".join(self.arch_settings)} or give a dict'
                )
            arch = self.arch_settings[arch.lower()]
        needed = ('channels', 'depths', 'kernel_sizes')
        if set(arch) != set(needed):
            raise ValueError(
                f'arch as a dict needs the keys {list(needed)}, got {sorted(arch)}'
            )
        channels, depths, kernel_sizes = (arch[key] for key in needed)
        if [len(sides) for sides in kernel_sizes] != list(depths) or len(
            channels
        ) != len(depths):
            raise ValueError(
                'arch must have channels and a depth for each stage, and a kernel size '
                f'for each block, got {dict(arch)}'
            )
        if not depths or min(depths) < 1 or min(channels) < 4:
            raise ValueError(
                'arch must have at least one stage, a block in each and 4 channels, '
                f'got {dict(arch)}'
            )
        for side in {side for sides in kernel_sizes for side in sides}:
            if side not in range(3, 18, 2):
                raise ValueError(
                    f'kernel sizes must be odd, from 3 to 17, got {side} of {arch}'
                )
        return channels, depths, kernel_sizes

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps, or vectors, of the stages in ``out_indices``."""
        self.check_input(x)
        if x.device.type == 'cpu':
            # oneDNN's format; kept by every layer that follows
            x = x.contiguous(memory_format=torch.channels_last)
        outs = []
        for i, (downsample, stage) in enumerate(
            zip(self.downsample_layers, self.stages)
        ):
            x = downsample(x)
            for block in stage:
                x = run(block, x, self.with_cp)
            if i in self.out_indices:
                norm = getattr(self, f'norm{i}')
                if self.gap_before_final_norm:
                    outs.append(norm(x.mean((2, 3), keepdim=True)).flatten(1))
                else:
                    outs.append(norm(x))
        return tuple(outs)

    def train(self, mode: bool = True) -> UniRepLKNet:
        """Set the mode; frozen stages stay in eval mode."""
        super().train(mode)
        self._freeze_stages()
        return self

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        frozen = [self.downsample_layers[0]]
        for i in range(self.frozen_stages):
            frozen += [self.downsample_layers[i], self.stages[i]]
        for module in frozen:
            module.eval()
            module.requires_grad_(False)

    # depths of layers are those of ConvNeXt
    get_layer_depth = ConvNeXt.get_layer_depth


def _halve(in_channels: int, out_channels: int) -> list[nn.Module]:
    """Half of the sides, rounded up."""
    conv = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
    return [conv, LayerNorm2d(out_channels, eps=1e-6)]
