"""CCNN: one network for sequences and images of any length and resolution.

Knigge et al., "Modelling Long Range Dependencies in N-D: From Task-Specific to a
General Purpose CNN", ICLR 2023 (arXiv 2301.10540; before it arXiv 2206.03398).
"""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from smpconv_mm.layers.separable_conv import SeparableConv, pointwise
from smpconv_mm.registry import MODELS

from .base import Backbone, check_channels, check_rates, run


class CCNNBlock(nn.Module):
    """A residual block around one :class:`~smpconv_mm.layers.SeparableConv`.

    ``out = shortcut(x) + act(linear(dropout(conv(norm(x)))))``; an activation is
    part of ``conv``, too. It is the block of S4 without a gate at its end.

    Args:
        in_channels (int): Channels in.
        out_channels (int): Channels out; where they differ from those in, the
            shortcut is a 1x1 convolution with bias.
        norm_cfg (dict): Norm at the beginning.
        act_cfg (dict): Activation.
        dropout (nn.Module): Dropout.
        ndim (int): 1 for sequences, 2 for maps.
        **conv_args: Of :class:`~smpconv_mm.layers.SeparableConv`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        norm_cfg: dict,
        act_cfg: dict,
        dropout: nn.Module,
        ndim: int,
        **conv_args,
    ) -> None:
        super().__init__()
        self.norm = build_norm_layer(norm_cfg, in_channels)[1]
        self.conv = SeparableConv(
            in_channels, out_channels, ndim=ndim, act_cfg=act_cfg, **conv_args
        )
        self.dropout = dropout
        self.linear = pointwise(out_channels, out_channels, ndim, act_cfg=act_cfg)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = pointwise(in_channels, out_channels, ndim, act_cfg=None)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, *spatial) to (N, out_channels, *spatial)."""
        out = self.linear(self.dropout(self.conv(self.norm(x))))
        return self.shortcut(x) + out


@MODELS.register_module()
class CCNN(Backbone):
    """Residual blocks of depthwise kernels as large as the input.

    A stem and blocks at the resolution of the input; nothing is downsampled. In deploy
    form kernels are plain weights and the stem's norm is folded; norms at the beginning
    of blocks stay, as the zeros around a map come after them.

    Args:
        in_channels (int): Channels of the input. Defaults to 3.
        kernel_size (int): Side of the largest kernel, odd for images; for sequences
            as many taps as they have samples, as published. Inputs may have any size.
            Defaults to 33.
        channels (Sequence[int]): Channels of each block; the stem has those of the
            first. Defaults to those of CCNN-4,140: four blocks of 140.
        ndim (int): 2 for images; 1 for sequences, whose kernels are causal.
            Defaults to 2.
        dropout (float): Rate of dropout in the blocks. Defaults to 0.
        drop_channels (bool): Let it drop whole channels of a sample, not single
            values. Defaults to True.
        input_dropout (float): Rate of dropout of single values of the input.
            Defaults to 0.
        kernel_cfg (dict, optional): Type and arguments of all kernels, any registered
            kind, such as ``dict(kernel_net=dict(hidden_channels=64))``. Without a
            type it is a :class:`~smpconv_mm.layers.CCNNKernel`. Defaults to None.
        norm_cfg (dict, optional): Defaults to batch norm.
        act_cfg (dict, optional): Defaults to GELU.
        **kwargs: ``out_indices`` (of blocks), ``with_cp``, ``deploy`` and
            ``init_cfg`` of :class:`~.base.Backbone`.

    Input: images (N, in_channels, H, W) or sequences (N, in_channels, L). Output: a
    tuple, an entry each of ``out_indices``, of the same with channels[i]; that of the
    last block has a norm after it. Classifiers take the mean over all places: neck
    ``GlobalAveragePooling``, of sequences with ``dim=1``.

    Raises:
        ValueError: If an argument or the shape of an input is wrong.
    """

    def __init__(
        self,
        in_channels: int = 3,
        kernel_size: int = 33,
        channels: Sequence[int] = (140,) * 4,
        *,
        ndim: int = 2,
        dropout: float = 0.0,
        drop_channels: bool = True,
        input_dropout: float = 0.0,
        kernel_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        channels = tuple(channels)
        check_channels(channels)
        if ndim not in (1, 2):
            raise ValueError(f'ndim must be 1 (sequences) or 2 (images), got {ndim}')
        if ndim == 2 and kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd for images, got {kernel_size}')
        check_rates(dropout=dropout, input_dropout=input_dropout)
        super().__init__(in_channels, len(channels), ndim=ndim, **kwargs)
        self.channels = channels
        norm_cfg = norm_cfg or dict(type='BN1d' if ndim == 1 else 'BN')
        act_cfg = act_cfg or dict(type='GELU')
        conv_args = dict(
            kernel_size=kernel_size,
            ndim=ndim,
            causal=ndim == 1,
            kernel_cfg=kernel_cfg,
            act_cfg=act_cfg,
            deploy=self.deploy,
        )
        dropped = {1: nn.Dropout1d, 2: nn.Dropout2d}[ndim]
        if not drop_channels:
            dropped = nn.Dropout
        self.input_dropout = nn.Dropout(input_dropout)
        self.stem = SeparableConv(
            in_channels, channels[0], norm_cfg=norm_cfg, **conv_args
        )
        self.blocks = nn.ModuleList(
            CCNNBlock(*pair, norm_cfg=norm_cfg, dropout=dropped(dropout), **conv_args)
            for pair in zip((channels[0], *channels), channels)
        )
        self.norm = build_norm_layer(norm_cfg, channels[-1])[1]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the blocks in ``out_indices``."""
        self.check_input(x)
        x = self.stem(self.input_dropout(x))
        outs = []
        for i, block in enumerate(self.blocks):
            x = run(block, x, self.with_cp)
            if i in self.out_indices:
                outs.append(self.norm(x) if i == len(self.blocks) - 1 else x)
        return tuple(outs)
