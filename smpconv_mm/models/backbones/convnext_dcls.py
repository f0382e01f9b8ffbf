"""ConvNeXt whose depthwise convolutions have learned spacings: ConvNeXt-dcls."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.models.backbones.convnext import ConvNeXt

from smpconv_mm.layers import DCLSConv2d
from smpconv_mm.registry import MODELS


@MODELS.register_module()
class DCLSConvNeXt(ConvNeXt):
    """ConvNeXt with DCLS in place of its 7 x 7 convolutions (ICLR 2023).

    All blocks of a stage share the positions of the elements, and their widths; the
    weights are those of each block.

    Args:
        arch (str | dict): An arch of ConvNeXt, or a dict with ``depths`` and
            ``channels``. Defaults to ``'tiny'``.
        in_channels (int): Defaults to 3.
        kernel_size (int): Side of the kernels, odd. Defaults to 17.
        n_points (int): Elements of each kernel; the paper takes 34 for ``tiny``, 40 for
            ``small`` and ``base``. Defaults to 34.
        version (str): See :class:`~smpconv_mm.layers.DCLSKernel`. Defaults to
            ``'v0'``, of the published networks.
        share_positions (bool): Defaults to True.
        deploy (bool): Built in deploy form, with dense kernels. Defaults to False.
        **kwargs: Arguments of mmpretrain's ConvNeXt, such as ``drop_path_rate``,
            ``layer_scale_init_value``, ``out_indices``, ``gap_before_final_norm``,
            ``frozen_stages``, ``with_cp``, ``init_cfg``.

    Input: (N, in_channels, H, W). Output: a tuple of maps of strides 4, 8, 16, 32,
    or of vectors with ``gap_before_final_norm``.

    Raises:
        ValueError: If ``kernel_size`` is even.
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        in_channels: int = 3,
        kernel_size: int = 17,
        n_points: int = 34,
        version: str = 'v0',
        share_positions: bool = True,
        out_indices: int | Sequence[int] = -1,
        init_cfg: dict | list[dict] | None = None,
        deploy: bool = False,
        **kwargs,
    ) -> None:
        if kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd, got {kernel_size}')
        if init_cfg is None:
            layers = ['Conv2d', 'Linear', 'DCLSKernel']
            init_cfg = [
                dict(type='TruncNormal', layer=layers, std=0.02, bias=0.0),
                dict(type='Constant', layer=['LayerNorm'], val=1.0, bias=0.0),
            ]
        stages = len(arch['depths']) if isinstance(arch, dict) else 4
        if isinstance(out_indices, int):
            out_indices = [out_indices]
        super().__init__(
            arch,
            in_channels,
            # mmpretrain counts from the fourth stage, whatever their number
            out_indices=[i + stages if i < 0 else i for i in out_indices],
            init_cfg=init_cfg,
            **kwargs,
        )
        for channels, stage in zip(self.channels, self.stages):
            for block in stage:
                block.depthwise_conv = DCLSConv2d(
                    channels,
                    channels,
                    kernel_size,
                    padding=kernel_size // 2,
                    groups=channels,
                    n_points=n_points,
                    version=version,
                    deploy=deploy,
                )
                if share_positions and not deploy:
                    first = stage[0].depthwise_conv.kernel
                    block.depthwise_conv.kernel.position = first.position
                    block.depthwise_conv.kernel.width = first.width
        self._freeze_stages()

    def train(self, mode: bool = True) -> DCLSConvNeXt:
        """Set the mode; frozen stages stay in eval mode."""
        super().train(mode)
        return self  # which mmpretrain's (1.2.0) does not
