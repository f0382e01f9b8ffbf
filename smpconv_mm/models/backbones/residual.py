"""Residual blocks of two large kernels, and the backbone that is a row of them."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import build_activation_layer
from torch import Tensor, nn

from .base import Backbone, check_channels, check_rates, run
from .large_kernel import LargeKernelConv


class ResidualBlock(nn.Module):
    """Two :class:`~.large_kernel.LargeKernelConv` and a shortcut.

    ``out = act(second(dropout(act(first(x)))) + shortcut(x))``

    Args:
        in_channels (int): Channels in.
        out_channels (int): Channels out; where they differ from those in, the
            shortcut is a 1x1 convolution with bias.
        ndim (int): 1 for sequences, 2 for maps. Defaults to 2.
        act_before_sum (bool): Let activation and dropout follow the second
            convolution too, before the sum, as in temporal convolutional
            networks. Defaults to False.
        dropout (float): Rate of element-wise dropout. Defaults to 0.
        act_cfg (dict, optional): Defaults to ReLU.
        **conv_args: Of both convolutions: ``kernel_size``,
            ``small_kernel_size``, ``causal``, ``bias``, ``norm_cfg``,
            ``kernel_cfg`` and ``deploy``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        ndim: int = 2,
        act_before_sum: bool = False,
        dropout: float = 0.0,
        act_cfg: dict | None = None,
        **conv_args,
    ) -> None:
        super().__init__()
        self.act_before_sum = act_before_sum
        conv_args['ndim'] = ndim
        self.conv1 = LargeKernelConv(in_channels, out_channels, **conv_args)
        self.conv2 = LargeKernelConv(out_channels, out_channels, **conv_args)
        self.act = build_activation_layer(act_cfg or dict(type='ReLU'))
        self.dropout = nn.Dropout(dropout)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            conv = {1: nn.Conv1d, 2: nn.Conv2d}[ndim]
            self.shortcut = conv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, *spatial) to (N, out_channels, *spatial)."""
        out = self.conv2(self.dropout(self.act(self.conv1(x))))
        if self.act_before_sum:
            out = self.dropout(self.act(out))
        return self.act(out + self.shortcut(x))


class ResidualBackbone(Backbone):
    """A row of residual blocks of one kernel size: ``stem``, then ``blocks``.

    Args:
        in_channels (int): Channels of the input.
        kernel_size (int): Side of the large kernels; odd unless causal.
        channels (Sequence[int]): Channels of each block.
        stem_channels (int, optional): Channels of a
            :class:`~.large_kernel.LargeKernelConv` and activation before the
            blocks. Defaults to None: no stem.
        ndim (int): 1 for sequences, 2 for images. Defaults to 2.
        causal (bool): Outputs depend on their own and earlier samples only.
            Defaults to False.
        act_before_sum (bool): See :class:`ResidualBlock`. Defaults to False.
        small_kernel_size (int, optional): Side of ordinary kernels in parallel;
            odd unless causal. Defaults to None: there are none.
        conv_bias (bool): Biases of the large kernels' convolutions, before their
            norms. Defaults to False.
        dropout (float): Rate of element-wise dropout in the blocks. Defaults
            to 0.
        kernel_cfg (dict, optional): Type and arguments of the large kernels, any
            registered kind. Defaults to None:
            :class:`~smpconv_mm.layers.SMPKernel`.
        norm_cfg (dict, optional): Defaults to batch norm.
        act_cfg (dict, optional): Defaults to ReLU.
        **kwargs: ``out_indices`` (of blocks), ``with_cp``, ``deploy`` and
            ``init_cfg`` of :class:`~.base.Backbone`.

    Raises:
        ValueError: If an argument or the shape of an input is wrong.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int,
        channels: Sequence[int],
        stem_channels: int | None = None,
        *,
        ndim: int = 2,
        causal: bool = False,
        act_before_sum: bool = False,
        small_kernel_size: int | None = None,
        conv_bias: bool = False,
        dropout: float = 0.0,
        kernel_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        channels = tuple(channels)
        widths = channels if stem_channels is None else (stem_channels, *channels)
        check_channels(channels and widths)  # a stem alone is no network
        super().__init__(in_channels, len(channels), ndim=ndim, **kwargs)
        small = 1 if small_kernel_size is None else small_kernel_size
        if not 1 <= small <= kernel_size:
            raise ValueError(
                'small_kernel_size must lie between 1 and kernel_size, got '
                f'{small_kernel_size} with kernel_size={kernel_size}'
            )
        if not causal and not kernel_size % 2 == small % 2 == 1:
            raise ValueError(
                'kernel sides must be odd unless causal, got '
                f'kernel_size={kernel_size}, small_kernel_size={small_kernel_size}'
            )
        check_rates(dropout=dropout)
        self.channels = channels
        act_cfg = act_cfg or dict(type='ReLU')
        conv_args = dict(
            kernel_size=kernel_size,
            small_kernel_size=small_kernel_size,
            ndim=ndim,
            causal=causal,
            norm_cfg=norm_cfg or dict(type='BN1d' if ndim == 1 else 'BN'),
            bias=conv_bias,
            kernel_cfg=kernel_cfg,
            deploy=self.deploy,
        )
        self.stem: nn.Module = nn.Identity()
        if stem_channels is not None:
            self.stem = nn.Sequential(
                LargeKernelConv(
                    in_channels, stem_channels, small_bias=True, **conv_args
                ),
                build_activation_layer(act_cfg),
            )
            in_channels = stem_channels
        widths = (in_channels, *channels)
        self.blocks = nn.ModuleList(
            ResidualBlock(
                *pair,
                act_before_sum=act_before_sum,
                dropout=dropout,
                act_cfg=act_cfg,
                **conv_args,
            )
            for pair in zip(widths, widths[1:])
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the blocks in ``out_indices``."""
        self.check_input(x)
        x = self.stem(x)
        outs = []
        for i, block in enumerate(self.blocks):
            x = run(block, x, self.with_cp)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)
