"""SMP-ResNet: the network of SMPConv for small images.

Kim and Park, "SMPConv: Self-moving Point Representations for Continuous
Convolution", CVPR 2023 (section 4.3).
"""

from __future__ import annotations

from collections.abc import Sequence

from smpconv_mm.registry import MODELS

from .large_kernel import smp_kernel_cfg
from .residual import ResidualBackbone


@MODELS.register_module()
class SMPResNet(ResidualBackbone):
    """Residual blocks with kernels as large as the image.

    The stem and the blocks have dense large kernels in parallel to small ones.
    Nothing is downsampled.

    Args:
        in_channels (int): Channels of the input. Defaults to 3.
        kernel_size (int): Side of the large kernels, odd. Defaults to 33.
        channels (Sequence[int]): Channels of each block. Defaults to the
            published 24, 24, 36, 36, 36, 48, 48.
        stem_channels (int): Channels of the stem. Defaults to 24.
        small_kernel_size (int): Side of the kernels in parallel, odd, at most
            ``kernel_size``. Defaults to 3.
        n_points (int): Points per output channel. Defaults to 16.
        coord_std (float): Spread of the initial points around the centre.
            Defaults to 0.05.
        radius (float, optional): Initial radius, in units of half a kernel.
            Defaults to None, which takes four over ``kernel_size``.
        kernel_cfg (dict, optional): Type and arguments of the large kernels, e.g.
            ``dict(learn_coord=False)`` or ``dict(type='DenseKernel')``. Kernels
            other than SMP's leave out the three arguments above. Defaults to
            None.
        init_cfg (dict | list[dict], optional): Defaults to None, which
            initialises as published: ordinary convolutions from a truncated
            normal of std 0.02.
        **kwargs: ``conv_bias``, ``dropout``, ``norm_cfg``, ``act_cfg``,
            ``out_indices``, ``with_cp`` and ``deploy`` of
            :class:`~.residual.ResidualBackbone`.

    Input: images of shape (N, in_channels, H, W), N, H, W at least 1. Output: a
    tuple, an entry each of ``out_indices``, of maps (N, channels[i], H, W).

    Raises:
        ValueError: If an argument or the shape of an input is wrong.
    """

    def __init__(
        self,
        in_channels: int = 3,
        kernel_size: int = 33,
        channels: Sequence[int] = (24, 24, 36, 36, 36, 48, 48),
        stem_channels: int = 24,
        n_points: int = 16,
        coord_std: float = 0.05,
        small_kernel_size: int = 3,
        radius: float | None = None,
        kernel_cfg: dict | None = None,
        init_cfg: dict | list | None = None,
        **kwargs,
    ) -> None:
        if init_cfg is None:
            init_cfg = dict(type='TruncNormal', layer=['Conv2d'], std=0.02, bias=0.0)
        super().__init__(
            in_channels,
            kernel_size,
            channels,
            stem_channels,
            small_kernel_size=small_kernel_size,
            kernel_cfg=smp_kernel_cfg(
                kernel_cfg, n_points=n_points, coord_std=coord_std, radius=radius
            ),
            init_cfg=init_cfg,
            **kwargs,
        )
