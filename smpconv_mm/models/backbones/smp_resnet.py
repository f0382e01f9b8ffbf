"""SMP-ResNet: the network of SMPConv for small images.

Kim and Park, "SMPConv: Self-moving Point Representations for Continuous
Convolution", CVPR 2023 (section 4.3).
"""

from __future__ import annotations

from collections.abc import Sequence

from smpconv_mm.registry import MODELS

from .smp_block import SMPResidualBackbone


@MODELS.register_module()
class SMPResNet(SMPResidualBackbone):
    """Residual blocks with kernels as large as the image.

    The stem and the blocks have :class:`LargeKernelConv`: dense kernels made of
    points, parallel to small ones. Nothing is downsampled.

    Args:
        in_channels (int): Channels of the input. Defaults to 3.
        kernel_size (int): Side of the SMP kernels, odd. Defaults to 33.
        channels (Sequence[int]): Channels of each block. Defaults to the
            published 24, 24, 36, 36, 36, 48, 48.
        stem_channels (int): Channels of the stem. Defaults to 24.
        n_points (int): Points per output channel. Defaults to 16.
        coord_std (float): Spread of the initial points around the centre.
            Defaults to 0.05.
        small_kernel_size (int): Side of the kernels in parallel, odd, at most
            ``kernel_size``. Defaults to 3.
        **kwargs: ``radius``, ``conv_bias``, ``dropout``, ``kernel_cfg``,
            ``norm_cfg``, ``act_cfg``, ``out_indices``, ``with_cp``, ``deploy``
            and ``init_cfg`` of :class:`SMPResidualBackbone`.

    Input: images of shape (N, in_channels, H, W), N, H, W at least 1. Output: a
    tuple, an entry each of ``out_indices``, of maps (N, channels[i], H, W).

    Raises:
        ValueError: If an argument or the shape of an input is wrong.
    """

    ndim = 2

    def __init__(
        self,
        in_channels: int = 3,
        kernel_size: int = 33,
        channels: Sequence[int] = (24, 24, 36, 36, 36, 48, 48),
        stem_channels: int = 24,
        n_points: int = 16,
        coord_std: float = 0.05,
        small_kernel_size: int = 3,
        **kwargs,
    ) -> None:
        super().__init__(
            in_channels,
            kernel_size,
            channels,
            stem_channels,
            n_points=n_points,
            coord_std=coord_std,
            small_kernel_size=small_kernel_size,
            **kwargs,
        )
