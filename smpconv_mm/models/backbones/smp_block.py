"""Parts of the SMP backbones: two parallel kernels, and the residual block.

Kim and Park, "SMPConv: Self-moving Point Representations for Continuous
Convolution", CVPR 2023 (sections 4.2 to 4.4).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_activation_layer
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from smpconv_mm.layers.kernel import resampled_taps
from smpconv_mm.layers.reparam import bn_scale_shift, switch_to_deploy


class LargeKernelConv(nn.Module):
    """An SMP convolution plus a parallel small one, each with its norm.

    The maps keep their size. In deploy form it is one convolution with bias,
    held by ``smp.conv``.

    Args:
        in_channels (int): Channels in.
        out_channels (int): Channels out.
        kernel_size (int): Side of the SMP kernel; odd unless causal.
        small_kernel_size (int): Side of the parallel kernel; odd unless causal,
            not larger.
        norm_cfg (dict, optional): Norm of both branches; None in deploy form.
        groups (int): Defaults to 1.
        bias (bool): Bias of the SMP convolution before its norm. Defaults to
            False.
        small_bias (bool): The same of the small one. Defaults to False.
        ndim (int): 2 for maps; 1 for sequences, whose convolutions are causal.
            Defaults to 2.
        **kernel_args: Of :class:`smpconv_mm.layers.SMPKernel`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        small_kernel_size: int,
        norm_cfg: dict | None,
        groups: int = 1,
        bias: bool = False,
        small_bias: bool = False,
        ndim: int = 2,
        **kernel_args,
    ) -> None:
        super().__init__()
        deploy = norm_cfg is None
        self.causal = ndim == 1
        self.kernel_size = kernel_size
        causal = dict(causal=True) if self.causal else {}
        self.smp = _branch(
            in_channels,
            out_channels,
            kernel_size,
            groups,
            dict(
                type=f'smpconv_mm.SMPConv{ndim}d',
                deploy=deploy,
                **causal,
                **kernel_args,
            ),
            norm_cfg,
            bias or deploy,
        )
        self.small_conv = None
        if not deploy:
            self.small_conv = _branch(
                in_channels,
                out_channels,
                small_kernel_size,
                groups,
                dict(
                    type='smpconv_mm.'
                    + ('CausalConv1d' if self.causal else 'DepthwiseConv2d')
                ),
                norm_cfg,
                small_bias,
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, *spatial) to (N, out_channels, *spatial)."""
        out = self.smp(x)
        return out if self.small_conv is None else out + self.small_conv(x)

    def resample(self, rate: float) -> None:
        """Adapt causal kernels to inputs of another sampling rate.

        Args:
            rate (float): Sampling rate over that of ``kernel_size``.
        """
        self.smp.conv.kernel_size = resampled_taps(self.kernel_size, rate)
        self.small_conv.conv.sampling_rate = rate

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Merge both branches and their norms into one convolution."""
        if self.small_conv is None:
            return
        large = switch_to_deploy(self.smp).conv
        small = switch_to_deploy(self.small_conv).conv
        margin = large.weight.shape[-1] - small.weight.shape[-1]
        # the current sample is the last tap, the centre of a map the middle one
        sides = (margin, 0) if self.causal else (margin // 2,) * 4
        large.weight += F.pad(small.weight, sides)
        large.bias += small.bias
        self.small_conv = None


def _branch(
    in_channels, out_channels, kernel_size, groups, conv_cfg, norm_cfg, bias
) -> ConvModule:
    with warnings.catch_warnings():
        # published models have biases before batch norms
        warnings.filterwarnings('ignore', 'Unnecessary conv bias')
        return ConvModule(
            in_channels,
            out_channels,
            kernel_size,
            padding=0 if '1d' in conv_cfg['type'] else kernel_size // 2,
            groups=groups,
            bias=bias,
            conv_cfg=conv_cfg,
            norm_cfg=norm_cfg,
            act_cfg=None,
        )


class SMPResidualBlock(nn.Module):
    """Two :class:`LargeKernelConv` and a shortcut, for sequences and small maps.

    ``out = act(second(dropout(act(first(x)))) + shortcut(x))``; in sequences
    the second one too is followed by activation and dropout before the sum.

    Args:
        in_channels (int): Channels in.
        out_channels (int): Channels out; where they differ from those in, the
            shortcut is a 1x1 convolution with bias.
        kernel_size (int): Side of the SMP kernels.
        small_kernel_size (int): Side of the parallel kernels.
        ndim (int): 1 for sequences, 2 for maps.
        dropout (float): Rate of element-wise dropout.
        norm_cfg (dict, optional): None in deploy form.
        act_cfg (dict): Activation.
        **conv_args: ``bias`` and arguments of
            :class:`smpconv_mm.layers.SMPKernel`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        small_kernel_size: int,
        ndim: int,
        dropout: float,
        norm_cfg: dict | None,
        act_cfg: dict,
        **conv_args,
    ) -> None:
        super().__init__()
        shared = dict(
            kernel_size=kernel_size,
            small_kernel_size=small_kernel_size,
            norm_cfg=norm_cfg,
            ndim=ndim,
            **conv_args,
        )
        self.ndim = ndim
        self.conv1 = LargeKernelConv(in_channels, out_channels, **shared)
        self.conv2 = LargeKernelConv(out_channels, out_channels, **shared)
        self.act = build_activation_layer(act_cfg)
        self.dropout = nn.Dropout(dropout)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            conv = {1: nn.Conv1d, 2: nn.Conv2d}[ndim]
            self.shortcut = conv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, *spatial) to (N, out_channels, *spatial)."""
        out = self.conv2(self.dropout(self.act(self.conv1(x))))
        if self.ndim == 1:
            out = self.dropout(self.act(out))
        return self.act(out + self.shortcut(x))


class SMPResidualBackbone(BaseBackbone):
    """A row of residual blocks of one kernel size: ``stem``, then ``blocks``.

    Args:
        in_channels (int): Channels of the input.
        kernel_size (int): Side of the SMP kernels.
        channels (Sequence[int]): Channels of each block.
        stem_channels (int, optional): Channels of a :class:`LargeKernelConv`
            and activation before the blocks. Defaults to None: no stem.
        small_kernel_size (int): Side of the kernels in parallel.
        n_points (int): Points per output channel.
        radius (float, optional): Initial radius, in units of half a kernel.
            Defaults to None, which takes four over ``kernel_size``.
        coord_std (float): Spread of the initial points.
        conv_bias (bool): Biases of the SMP convolutions, before their norms.
            Defaults to False.
        dropout (float): Rate of element-wise dropout in the blocks. Defaults
            to 0.
        kernel_cfg (dict, optional): More arguments of
            :class:`smpconv_mm.layers.SMPKernel`, e.g.
            ``dict(learn_coord=False)``. Defaults to None.
        norm_cfg (dict, optional): Defaults to batch norm.
        act_cfg (dict, optional): Defaults to ReLU.
        out_indices (Sequence[int]): Blocks whose outputs are returned; negative
            numbers count from the last. Defaults to (-1, ).
        with_cp (bool): Recompute blocks in the backward pass to save memory.
            Defaults to False.
        deploy (bool): Build the deploy form: one convolution with bias where
            the training form has two and their norms. Defaults to False.
        init_cfg (dict | list[dict], optional): Defaults to None, which
            initialises as published: small kernels, and in images all ordinary
            convolutions, from a truncated normal of std 0.02.

    Raises:
        ValueError: If an argument or the shape of an input is wrong.
    """

    ndim: int

    def __init__(
        self,
        in_channels: int,
        kernel_size: int,
        channels: Sequence[int],
        stem_channels: int | None = None,
        *,
        small_kernel_size: int,
        n_points: int,
        coord_std: float,
        radius: float | None = None,
        conv_bias: bool = False,
        dropout: float = 0.0,
        kernel_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        out_indices: Sequence[int] = (-1,),
        with_cp: bool = False,
        deploy: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        if init_cfg is None:
            layer = 'CausalConv1d' if self.ndim == 1 else 'Conv2d'
            init_cfg = dict(type='TruncNormal', layer=[layer], std=0.02, bias=0.0)
        super().__init__(init_cfg)
        channels = tuple(channels)
        widths = channels if stem_channels is None else (stem_channels, *channels)
        if not channels or any(not isinstance(c, int) or c < 1 for c in widths):
            raise ValueError(
                f'channels must be positive integers, one a block, got {widths}'
            )
        if not 1 <= small_kernel_size <= kernel_size:
            raise ValueError(
                'small_kernel_size must lie between 1 and kernel_size, got '
                f'{small_kernel_size} with kernel_size={kernel_size}'
            )
        if self.ndim == 2 and not kernel_size % 2 == small_kernel_size % 2 == 1:
            raise ValueError(
                'kernel sides of images must be odd, got '
                f'kernel_size={kernel_size}, small_kernel_size={small_kernel_size}'
            )
        if not 0 <= dropout < 1:
            raise ValueError(f'dropout must lie in [0, 1), got {dropout}')
        self.in_channels = in_channels
        self.channels = channels
        self.out_indices = parse_out_indices(out_indices, len(channels))
        self.with_cp = with_cp
        self.deploy = deploy
        if deploy:
            norm_cfg = None
        elif norm_cfg is None:
            norm_cfg = dict(type='BN1d' if self.ndim == 1 else 'BN')
        act_cfg = act_cfg or dict(type='ReLU')
        conv_args = dict(
            kernel_size=kernel_size,
            small_kernel_size=small_kernel_size,
            ndim=self.ndim,
            norm_cfg=norm_cfg,
            bias=conv_bias,
            n_points=n_points,
            radius=radius,
            coord_std=coord_std,
            **(kernel_cfg or {}),
        )
        self.stem: nn.Module = nn.Identity()
        if stem_channels is not None:
            self.stem = nn.Sequential(
                LargeKernelConv(
                    in_channels, stem_channels, small_bias=True, **conv_args
                ),
                build_activation_layer(act_cfg),
            )
        widths = (in_channels, *channels)
        if stem_channels is not None:
            widths = (stem_channels, *channels)
        self.blocks = nn.ModuleList(
            SMPResidualBlock(*pair, dropout=dropout, act_cfg=act_cfg, **conv_args)
            for pair in zip(widths, widths[1:])
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the blocks in ``out_indices``."""
        if x.dim() != self.ndim + 2 or x.shape[1] != self.in_channels or 0 in x.shape:
            axes = 'L' if self.ndim == 1 else 'H, W'
            raise ValueError(
                f'{type(self).__name__} expects inputs of shape (N, '
                f'{self.in_channels}, {axes}), all at least 1, got {tuple(x.shape)}'
                + (' (an empty batch)' if x.dim() and x.shape[0] == 0 else '')
            )
        x = self.stem(x)
        outs = []
        for i, block in enumerate(self.blocks):
            x = run(block, x, self.with_cp)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def train(self, mode: bool = True) -> SMPResidualBackbone:
        """Set the mode and return the network, which mmpretrain's does not."""
        super().train(mode)
        return self

    def switch_to_deploy(self) -> None:
        """Turn points into dense kernels, fold norms, merge branches, in place.

        Raises:
            TypeError: If a norm is not a batch norm.
        """
        if self.deploy:
            return
        check_foldable(self)  # refuse before anything is changed
        switch_to_deploy(self.stem)
        switch_to_deploy(self.blocks)
        self.deploy = True


def check_foldable(module: nn.Module) -> None:
    """Raise ``TypeError`` if a norm that deploy form must fold cannot be folded."""
    for part in module.modules():
        if isinstance(part, ConvModule) and part.with_norm:
            bn_scale_shift(part.norm)


def parse_out_indices(out_indices: int | Sequence[int], number: int) -> tuple[int, ...]:
    """Indices of ``number`` stages, counted from the first.

    Raises:
        ValueError: If there is none, or one is out of range.
    """
    if isinstance(out_indices, int):
        out_indices = (out_indices,)
    parsed = tuple(i + number if i < 0 else i for i in out_indices)
    if not parsed or any(not 0 <= i < number for i in parsed):
        raise ValueError(
            f'out_indices must name stages of 0..{number - 1}, got {tuple(out_indices)}'
        )
    return parsed


def run(module: nn.Module, x: Tensor, with_cp: bool) -> Tensor:
    """Call a module; with ``with_cp`` recompute it in the backward pass."""
    if with_cp and x.requires_grad:
        return checkpoint(module, x, use_reentrant=False)
    return module(x)
