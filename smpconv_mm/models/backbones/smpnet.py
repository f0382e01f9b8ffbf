"""SMPNet: the ImageNet network of SMPConv.

Kim and Park, "SMPConv: Self-moving Point Representations for Continuous
Convolution", CVPR 2023 (section 4.4); the layout around the large kernels
follows RepLKNet (Ding et al., CVPR 2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule, build_norm_layer
from mmcv.cnn.bricks import DropPath
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from smpconv_mm.layers.reparam import fold_norm_before, switch_to_deploy
from smpconv_mm.registry import MODELS

from .smp_block import LargeKernelConv, check_foldable, parse_out_indices, run


class _Bottleneck(nn.Module):
    """Residual block with a norm first: norm, 1x1, what lies between, 1x1.

    Args:
        channels (int): Channels in and out.
        hidden_channels (int): Channels between the 1x1 convolutions.
        drop_path (float): Rate of stochastic depth.
        norm_cfg (dict, optional): None in deploy form.
        act_cfg (dict, optional): Activation of the first 1x1 convolution.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        drop_path: float,
        norm_cfg: dict | None,
        act_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        self.norm = _norm(norm_cfg, channels)
        self.pw1 = _conv(
            channels, hidden_channels, 1, norm_cfg=norm_cfg, act_cfg=act_cfg
        )
        self.pw2 = _conv(hidden_channels, channels, 1, norm_cfg=norm_cfg)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def between(self, x: Tensor) -> Tensor:
        """What lies between the 1x1 convolutions."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        out = self.pw2(self.between(self.pw1(self.norm(x))))
        return x + self.drop_path(out)

    def switch_to_deploy(self) -> None:
        """Fold all norms."""
        for child in self.children():
            switch_to_deploy(child)
        if not isinstance(self.norm, nn.Identity):
            fold_norm_before(self.norm, self.pw1.conv)
        self.norm = self.drop_path = nn.Identity()


class SMPBlock(_Bottleneck):
    """Bottleneck around a :class:`LargeKernelConv` and a ReLU.

    Args:
        channels (int): Channels in and out.
        dw_channels (int): Channels of the large kernel.
        kernel_size (int): Side of the large kernel.
        small_kernel_size (int): Side of its parallel kernel.
        n_points (int): Points of the large kernel.
        drop_path (float): Rate of stochastic depth.
        norm_cfg (dict, optional): None in deploy form.
        kernel_cfg (dict, optional): More arguments of the SMP kernel.
    """

    def __init__(
        self,
        channels: int,
        dw_channels: int,
        kernel_size: int,
        small_kernel_size: int,
        n_points: int,
        drop_path: float,
        norm_cfg: dict | None,
        kernel_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            channels, dw_channels, drop_path, norm_cfg, act_cfg=dict(type='ReLU')
        )
        self.large_kernel = LargeKernelConv(
            dw_channels,
            dw_channels,
            kernel_size,
            small_kernel_size,
            norm_cfg,
            groups=dw_channels,
            **{'n_points': n_points, 'radius_range': (1e-3, 1.0), **(kernel_cfg or {})},
        )
        self.act = nn.ReLU(inplace=True)

    def between(self, x: Tensor) -> Tensor:
        """The large kernel and its activation."""
        return self.act(self.large_kernel(x))


class ConvFFN(_Bottleneck):
    """Feed-forward block: a bottleneck around a GELU.

    mmpretrain's class of the same name has its norms fixed to BN and no deploy
    form.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.act = nn.GELU()

    def between(self, x: Tensor) -> Tensor:
        """The activation."""
        return self.act(x)


class SMPStage(nn.Module):
    """A row of (SMPBlock, ConvFFN) pairs of one width: ``blocks``.

    Args:
        depth (int): Number of pairs.
        drop_path_rates (Sequence[float]): One a pair, for both its members.
        with_cp (bool): Recompute activations in the backward pass.
        Others: see :class:`SMPNet`.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        kernel_size: int,
        small_kernel_size: int,
        n_points: int,
        dw_ratio: float,
        ffn_ratio: float,
        drop_path_rates: Sequence[float],
        norm_cfg: dict | None,
        with_cp: bool,
        kernel_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.blocks = nn.ModuleList()
        for i in range(depth):
            self.blocks.append(
                SMPBlock(
                    channels,
                    int(channels * dw_ratio),
                    kernel_size,
                    small_kernel_size,
                    n_points,
                    drop_path_rates[i],
                    norm_cfg,
                    kernel_cfg,
                )
            )
            self.blocks.append(
                ConvFFN(
                    channels, int(channels * ffn_ratio), drop_path_rates[i], norm_cfg
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        for block in self.blocks:
            x = run(block, x, self.with_cp)
        return x


@MODELS.register_module()
class SMPNet(BaseBackbone):
    """SMPNet backbone.

    Args:
        arch (str | dict): ``'tiny'`` or ``'base'`` (SMPConv-T and -B), or a dict
            with lists of equal length, an entry a stage: ``channels``,
            ``depths`` (pairs of blocks), ``kernel_sizes`` (odd) and optionally
            ``n_points``, which defaults to ``kernel_size ** 2 // 4``.
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
        kernel_cfg (dict, optional): More arguments of
            :class:`~smpconv_mm.layers.SMPKernel` for all large kernels, e.g.
            ``dict(learn_radius=False)``. Defaults to None.
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
        super().__init__(init_cfg)
        settings = self._parse_arch(arch, small_kernel_size)
        channels, depths = settings['channels'], settings['depths']
        num_stages = len(channels)
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f'drop_path_rate must lie in [0, 1), got {drop_path_rate}')
        if not -1 <= frozen_stages <= num_stages:
            raise ValueError(
                f'frozen_stages must lie in -1..{num_stages} for {num_stages} stages, '
                f'got {frozen_stages}'
            )
        self.in_channels = in_channels
        self.channels = tuple(channels)
        self.depths = tuple(depths)
        self.out_indices = parse_out_indices(out_indices, num_stages)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.deploy = deploy
        out_norm_cfg = norm_cfg = norm_cfg or dict(type='BN')
        if deploy:
            norm_cfg = None

        width = channels[0]
        relu = dict(norm_cfg=norm_cfg, act_cfg=dict(type='ReLU'))
        self.stem = nn.ModuleList(
            [
                _conv(in_channels, width, 3, stride=2, **relu),
                _conv(width, width, 3, groups=width, **relu),
                _conv(width, width, 1, **relu),
                _conv(width, width, 3, stride=2, groups=width, **relu),
            ]
        )
        rates = torch.linspace(0, 0 if deploy else drop_path_rate, sum(depths)).tolist()
        self.stages = nn.ModuleList()
        self.transitions = nn.ModuleList()
        for i, depth in enumerate(depths):
            self.stages.append(
                SMPStage(
                    channels[i],
                    depth,
                    settings['kernel_sizes'][i],
                    small_kernel_size,
                    settings['n_points'][i],
                    dw_ratio,
                    ffn_ratio,
                    rates[sum(depths[:i]) : sum(depths[: i + 1])],
                    norm_cfg,
                    with_cp,
                    kernel_cfg,
                )
            )
            if i + 1 < num_stages:
                wider = channels[i + 1]
                self.transitions.append(
                    nn.Sequential(
                        _conv(channels[i], wider, 1, **relu),
                        _conv(wider, wider, 3, stride=2, groups=wider, **relu),
                    )
                )
        for i in self.out_indices:
            norm = _norm(out_norm_cfg if out_norm else None, channels[i])
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
        if x.dim() != 4 or x.shape[1] != self.in_channels or 0 in x.shape:
            raise ValueError(
                f'SMPNet expects images of shape (N, {self.in_channels}, H, W), all '
                f'at least 1, got {tuple(x.shape)}'
                + (' (an empty batch)' if x.dim() == 4 and x.shape[0] == 0 else '')
            )
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

    def switch_to_deploy(self) -> None:
        """Turn points into dense kernels and fold every norm, in place.

        Raises:
            TypeError: If a norm is not a batch norm.
        """
        if self.deploy:
            return
        check_foldable(self)  # refuse before anything is changed
        for child in [*self.stem, *self.stages, *self.transitions]:
            switch_to_deploy(child)
        self.deploy = True


def _norm(norm_cfg: dict | None, channels: int) -> nn.Module:
    return build_norm_layer(norm_cfg, channels)[1] if norm_cfg else nn.Identity()


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
