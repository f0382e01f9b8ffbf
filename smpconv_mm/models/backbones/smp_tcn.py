"""SMP-TCN: the sequence network of SMPConv.

Kim and Park, "SMPConv: Self-moving Point Representations for Continuous
Convolution", CVPR 2023 (section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from smpconv_mm.registry import MODELS

from .smp_block import SMPResidualBackbone


@MODELS.register_module()
class SMPTCN(SMPResidualBackbone):
    """Causal residual blocks with kernels as long as the sequence.

    A block has two :class:`LargeKernelConv`: kernels made of points, parallel to
    small ones.

    Args:
        in_channels (int): Channels of the input. Defaults to 1.
        kernel_size (int): Taps of the SMP kernels, any number; as many as the
            training sequences have samples reach from each sample back to the
            first, as published. Inputs may have any length. Defaults to 784.
        channels (Sequence[int]): Channels of each block. Defaults to 6 blocks
            of 30.
        n_points (int): Points per output channel. Defaults to 30.
        coord_std (float): Spread of the initial points, which lie densest at
            the current sample. Defaults to 0.1.
        small_kernel_size (int): Taps of the kernels in parallel, at most
            ``kernel_size``. Defaults to 5.
        input_dropout (float): Rate of element-wise dropout of the input.
            Defaults to 0.
        **kwargs: ``radius``, ``conv_bias``, ``dropout``, ``norm_cfg``,
            ``act_cfg``, ``out_indices``, ``with_cp``, ``deploy`` and
            ``init_cfg`` of :class:`SMPResidualBackbone`.

    Input: sequences of shape (N, in_channels, L), N and L at least 1. Output: a
    tuple, an entry each of ``out_indices``, of sequences (N, channels[i], L).
    Classifiers read the last sample: neck ``smpconv_mm.LastTimeStep``.

    Raises:
        ValueError: If an argument or the shape of an input is wrong.
    """

    ndim = 1

    def __init__(
        self,
        in_channels: int = 1,
        kernel_size: int = 784,
        channels: Sequence[int] = (30,) * 6,
        n_points: int = 30,
        coord_std: float = 0.1,
        small_kernel_size: int = 5,
        input_dropout: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__(
            in_channels,
            kernel_size,
            channels,
            n_points=n_points,
            coord_std=coord_std,
            small_kernel_size=small_kernel_size,
            **kwargs,
        )
        if not 0 <= input_dropout < 1:
            raise ValueError(f'input_dropout must lie in [0, 1), got {input_dropout}')
        self.stem = nn.Dropout(input_dropout)
