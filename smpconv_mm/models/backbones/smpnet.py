"""SMPNet: the ImageNet network of SMPConv.

Kim and Park, "SMPConv: Self-moving Point Representations for Continuous
Convolution", CVPR 2023 (section 4.4); the layout around the large kernels
follows RepLKNet (Ding et al., CVPR 2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule, build_norm_layer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from smpconv_mm.registry import MODELS

from .base import Backbone, check_stages, run
from .large_kernel import ConvFFN, SMPBlock, smp_kernel_cfg


class SMPStage(nn.Module):
    """A row of (SMPBlock, ConvFFN) pairs of one width: ``blocks``.

    Args:
        channels (int): Channels in and out.
        drop_path_rates (Sequence[float]): One a pair, for both its members.
        dw_channels (int): Channels of the large kernels.
        ffn_channels (int): Hidden channels of the ConvFFN.
        kernel (dict): ``kernel_size``, ``small_kernel_size`` and ``kernel_cfg``
            of :class:`~.large_kernel.SMPBlock`.
        norm_cfg (dict): Norm.
        deploy (bool): Build the deploy form. Defaults to False.
        with_cp (bool): Recompute activations in the backward pass. Defaults to
            False.
    """

    def __init__(
        self,
        channels: int,
        *,
        drop_path_rates: Sequence[float],
        dw_channels: int,
        ffn_channels: int,
        kernel: dict,
        norm_cfg: dict,
        deploy: bool = False,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.blocks = nn.ModuleList()
        for rate in drop_path_rates:
            shared = dict(norm_cfg=norm_cfg, drop_path=rate, deploy=deploy)
            self.blocks.append(SMPBlock(channels, dw_channels, **kernel, **shared))
            self.blocks.append(ConvFFN(channels, ffn_channels, **shared))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        for block in self.blocks:
            x = run(block, x, self.with_cp)
        return x


@MODELS.register_module()
class SMPNet(Backbone):
    """SMPNet backbone.

    Args:
        arch (str | dict): ``'tiny'`` or ``'base'`` (SMPConv-T and -B), or a dict
            with lists of equal length, an entry a stage: ``channels``,
            ``depths`` (pairs of blocks), ``kernel_sizes`` (odd) and optionally
            ``n_points`` of SMP kernels, which defaults to
            ``kernel_size ** 2 // 4``.
            Defaults to 'tiny'.
        in_channels (int): Channels of the input. Defaults to 3.
        small_kernel_size (int): Side of the kernel in parallel to the large
            one; odd, at most the smallest large kernel. Defaults to 5.
        dw_ratio (float): Channels of the large kernel over those of the stage.
            Defaults to 1.
        ffn_ratio (float): Hidden channels of the ConvFFN over those of the
            stage. Defaults to 4.
        drop_path_rate (float): Stochastic depth of the last pair of blocks;
            grows linearly from 0 at the first. Published: 0.1 for tiny, 0.5
            for base. Defaults to 0.1.
        out_indices (Sequence[int]): Stages whose maps are returned; negative
            numbers count from the last. Defaults to (-1, ).
        out_norm (bool): Normalise each returned map. Defaults to True.
        frozen_stages (int): Stages that are not trained, with all before
            them: -1 none, 0 the stem, n the stem and the first n stages.
            Defaults to -1.
        norm_eval (bool): Keep norms in eval mode while training. Defaults to
            False.
        norm_cfg (dict): Defaults to ``dict(type='BN')``; the published recipe
            trains with ``dict(type='SyncBN')``.
        kernel_cfg (dict, optional): Type and arguments of the large kernels, any
            registered kind. Without a type it is
            :class:`~smpconv_mm.layers.SMPKernel`, e.g.
            ``dict(learn_radius=False)``; ``dict(type='DenseKernel')`` makes
            ordinary ones. Defaults to None.
        with_cp (bool): Recompute activations in the backward pass to save
            memory. Defaults to False.
        deploy (bool): Build the deploy form: plain convolutions with bias, no
            points, no norms but those of ``out_norm``. Defaults to False.
        init_cfg (dict | list[dict], optional): Defaults to None, which
            initialises as published: truncated normals of std 0.02.

    Input: images of shape (N, in_channels, H, W), N, H, W at least 1. Output:
    a tuple, an entry each of ``out_indices``, of maps (N, channels[i],
    ~H / 2**(i + 2), ~W / 2**(i + 2)).

    Raises:
        ValueError: If an argument or the shape of an input is wrong.
    """

    arch_settings = {
        'tiny': dict(
            channels=[96, 192, 384, 768],
            depths=[2, 2, 8, 2],
            kernel_sizes=[31, 29, 27, 13],
        ),
        'base': dict(
            channels=[128, 256, 512, 1024],
            depths=[2, 2, 20, 2],
            kernel_sizes=[31, 29, 27, 13],
        ),
    }

    def __init__(
        self,
        arch: str | dict = 'tiny',
        in_channels: int = 3,
        small_kernel_size: int = 5,
        dw_ratio: float = 1,
        ffn_ratio: float = 4,
        drop_path_rate: float = 0.1,
        out_indices: Sequence[int] = (-1,),
        out_norm: bool = True,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm_cfg: dict | None = None,
        kernel_cfg: dict | None = None,
        with_cp: bool = False,
        deploy: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        if init_cfg is None:
            init_cfg = [
                dict(type='TruncNormal', layer=['Conv2d'], std=0.02, bias=0.0),
                dict(type='Constant', layer=['_BatchNorm'], val=1.0, bias=0.0),
            ]
        settings = self._parse_arch(arch, small_kernel_size)
        channels, depths = settings['channels'], settings['depths']
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
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        norm_cfg = norm_cfg or dict(type='BN')
        conv = dict(norm_cfg=None if deploy else norm_cfg, act_cfg=dict(type='ReLU'))
        width = channels[0]
        self.stem = nn.ModuleList(
            [
                _conv(in_channels, width, 3, stride=2, **conv),
                _conv(width, width, 3, groups=width, **conv),
                _conv(width, width, 1, **conv),
                _conv(width, width, 3, stride=2, groups=width, **conv),
            ]
        )
        rates = torch.linspace(0, 0 if deploy else drop_path_rate, sum(depths)).tolist()
        self.stages = nn.ModuleList()
        self.transitions = nn.ModuleList()
        for i in range(num_stages):
            kernel = dict(
                kernel_size=settings['kernel_sizes'][i],
                small_kernel_size=small_kernel_size,
                kernel_cfg=smp_kernel_cfg(
                    kernel_cfg,
                    n_points=settings['n_points'][i],
                    radius_range=(1e-3, 1.0),
                ),
            )
            self.stages.append(
                SMPStage(
                    channels[i],
                    drop_path_rates=rates[sum(depths[:i]) : sum(depths[: i + 1])],
                    dw_channels=int(channels[i] * dw_ratio),
                    ffn_channels=int(channels[i] * ffn_ratio),
                    kernel=kernel,
                    norm_cfg=norm_cfg,
                    deploy=deploy,
                    with_cp=with_cp,
                )
            )
            if i + 1 < num_stages:
                wider = channels[i + 1]
                self.transitions.append(
                    nn.Sequential(
                        _conv(channels[i], wider, 1, **conv),
                        _conv(wider, wider, 3, stride=2, groups=wider, **conv),
                    )
                )
        for i in self.out_indices:
            norm: nn.Module = nn.Identity()
            if out_norm:
                norm = build_norm_layer(norm_cfg, channels[i])[1]
            self.add_module(f'norm{i}', norm)
        self._freeze_stages()

    def _parse_arch(self, arch: str | dict, small_kernel_size: int) -> dict:
        if isinstance(arch, str):
            if arch.lower() not in self.arch_settings:
                raise ValueError(
                    f'arch {arch!r} is unknown; choose one of '
                    f'{sorted(self.arch_settings)} or give a dict'
                )
            settings = dict(self.arch_settings[arch.lower()])
        else:
            settings = dict(arch)
            needed = {'channels', 'depths', 'kernel_sizes'}
            if not needed <= set(settings) <= needed | {'n_points'}:
                raise ValueError(
                    f'arch as a dict needs the keys {sorted(needed)} and may have '
                    f"'n_points', got {sorted(settings)}"
                )
        settings.setdefault('n_points', [k * k // 4 for k in settings['kernel_sizes']])
        lengths = {key: len(value) for key, value in settings.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ValueError(
                f'the lists of arch must have one entry a stage each, got {lengths}'
            )
        for key, values in settings.items():
            if any(not isinstance(v, int) or v < 1 for v in values):
                raise ValueError(
                    f'arch[{key!r}] must be positive integers, got {list(values)}'
                )
        for k in [small_kernel_size, *settings['kernel_sizes']]:
            if k % 2 == 0 or k < small_kernel_size:
                raise ValueError(
                    'kernel sizes must be odd, and no large kernel smaller than the '
                    f'small one, got kernel_sizes={list(settings["kernel_sizes"])} and '
                    f'small_kernel_size={small_kernel_size}'
                )
        return settings

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of the stages in ``out_indices``."""
        self.check_input(x)
        if x.device.type == 'cpu':
            # oneDNN's format; kept by every layer that follows
            x = x.contiguous(memory_format=torch.channels_last)
        for i, layer in enumerate(self.stem):
            # nothing before the first layer to be recomputed for
            x = run(layer, x, self.with_cp and i > 0)
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                outs.append(getattr(self, f'norm{i}')(x))
            if i < len(self.transitions):
                x = self.transitions[i](x)
        return tuple(outs)

    def train(self, mode: bool = True) -> SMPNet:
        """Set the mode; frozen stages, and norms with ``norm_eval``, stay put."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        frozen = [self.stem]
        for i in range(self.frozen_stages):
            frozen.append(self.stages[i])
            if i > 0:
                frozen.append(self.transitions[i - 1])
        for module in frozen:
            module.eval()
            module.requires_grad_(False)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter, for learning rates that decay with the layer.

        The stem is layer 0 and each pair of blocks one more; a transition
        belongs to the pair that follows it. The norms of the output and all
        that lies outside of the backbone are the last layer.

        Args:
            param_name (str): Name of the parameter in the whole model.
            prefix (str): Name of the backbone in the model, with its dot.
                Defaults to ''.

        Returns:
            tuple[int, int]: The depth and the number of layers.
        """
        depth = last = sum(self.depths) + 1
        if param_name.startswith(prefix):
            part, index, *rest = param_name[len(prefix) :].split('.')
            if part == 'stem':
                depth = 0
            elif part == 'stages':  # stages.i.blocks.j
                depth = 1 + sum(self.depths[: int(index)]) + int(rest[1]) // 2
            elif part == 'transitions':
                depth = 1 + sum(self.depths[: int(index) + 1])
        return depth, last + 1


def _conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
    norm_cfg: dict | None = None,
    act_cfg: dict | None = None,
) -> ConvModule:
    return ConvModule(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        groups=groups,
        conv_cfg=dict(type='smpconv_mm.DepthwiseConv2d') if groups > 1 else None,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
    )
