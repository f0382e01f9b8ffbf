"""ConvNeXt with oriented 1-D kernels: ConvNeXt-1D, 1D++, 2D and 2D++."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmpretrain.models.backbones.convnext import ConvNeXt, ConvNeXtBlock
from mmpretrain.models.utils import build_norm_layer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from smpconv_mm.layers import OrientedConv2d
from smpconv_mm.registry import MODELS

# taps of the first depthwise convolution of a block, of that between its linear
# layers (0: none), of the stem (0: a convolution of 4 x 4)
VARIANTS = {
    '1d': (31, 0, 31),
    '1dpp': (15, 31, 15),
    '2d': (7, 0, 0),
    '2dpp': (7, 31, 0),
}


def _oriented(channels: int, taps: int, **kwargs) -> OrientedConv2d:
    return OrientedConv2d(
        channels, channels, taps, padding=taps // 2, groups=channels, **kwargs
    )


class OrientedStem(BaseModule):
    """Image to a map of a quarter of its sides, by oriented kernels of stride 2.

    Args:
        in_channels (int): Channels of the image.
        channels (int): Channels of the map.
        taps (int): Of both oriented convolutions.
        middle_channels (int): Channels in between.
        norm_cfg (dict): Config of the norms.
        act_cfg (dict): Config of the activation.

    Input: (N, in_channels, H, W). Output: (N, channels, ceil(ceil(H / 2) / 2), ...).
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        taps: int,
        middle_channels: int,
        norm_cfg: dict,
        act_cfg: dict,
    ) -> None:
        super().__init__()
        self.pointwise_conv1 = nn.Linear(in_channels, middle_channels)
        self.depthwise_conv1 = _oriented(middle_channels, taps, stride=2)
        self.norm1 = build_norm_layer(norm_cfg, middle_channels)
        self.depthwise_conv2 = _oriented(middle_channels, taps, stride=2, offset=0.5)
        self.norm2 = build_norm_layer(norm_cfg, middle_channels)
        self.pointwise_conv2 = nn.Linear(middle_channels, channels)
        self.norm3 = build_norm_layer(norm_cfg, channels)
        self.act = MODELS.build(act_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map."""
        x = self.pointwise_conv1(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.act(self.norm1(self.depthwise_conv1(x)))
        x = self.act(self.norm2(self.depthwise_conv2(x)))
        x = self.pointwise_conv2(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.norm3(x)


class OrientedConvNeXtBlock(ConvNeXtBlock):
    """A block of ConvNeXt, its depthwise convolution oriented or not.

    Args:
        in_channels (int): Channels of the map.
        taps (int): Of the depthwise convolution.
        oriented (bool): Whether it has oriented kernels.
        middle_taps (int): Of an oriented convolution with a residual between the
            linear layers, after the activation; 0: none. Defaults to 0.
        offset (float): Of the directions, in half turns. Defaults to 0.
        **kwargs: Arguments of mmpretrain's block.
    """

    def __init__(
        self,
        in_channels: int,
        taps: int,
        oriented: bool,
        middle_taps: int = 0,
        offset: float = 0.0,
        **kwargs,
    ) -> None:
        dw_conv_cfg = dict(kernel_size=taps, padding=taps // 2)
        super().__init__(in_channels, dw_conv_cfg=dw_conv_cfg, **kwargs)
        if oriented:
            self.depthwise_conv = _oriented(in_channels, taps, offset=offset)
        self.middle_conv: nn.Module | None = None
        if middle_taps:
            channels = self.pointwise_conv1.out_features
            self.middle_conv = _oriented(
                channels, middle_taps, offset=offset, residual=True
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        if self.with_cp and x.requires_grad:
            return checkpoint(self._forward, x, use_reentrant=False)
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        out = self.depthwise_conv(x).permute(0, 2, 3, 1)
        out = self.norm(out, data_format='channel_last')
        out = self.act(self.pointwise_conv1(out))
        if self.middle_conv is not None:
            # the layer sees a channels-last map, and returns one
            out = self.middle_conv(out.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out = self.pointwise_conv2(out).permute(0, 3, 1, 2)
        if self.gamma is not None:
            out = out * self.gamma.view(1, -1, 1, 1)
        return x + self.drop_path(out)


@MODELS.register_module()
class OrientedConvNeXt(ConvNeXt):
    """ConvNeXt with oriented 1-D kernels (ICCV 2023, arXiv 2309.15812).

    ==========  ==================  ===========================  =============
    variant     first convolution   between the linear layers    stem
    ==========  ==================  ===========================  =============
    ``1d``      oriented, 31 taps   none                         oriented, 31
    ``1dpp``    oriented, 15 taps   oriented, 31 taps            oriented, 15
    ``2d``      7 x 7               none                         4 x 4
    ``2dpp``    7 x 7               oriented, 31 taps            4 x 4
    ==========  ==================  ===========================  =============

    ``2d`` is ConvNeXt. Channels have eight directions; those of every second block
    are turned by 90 degrees.

    With 224 pixels in training, a map of side S never meets taps farther than S - 1
    from the centre, which stay as they were drawn. For larger images
    ``trained_sides`` leaves them out: a stage has at most 2 S - 1 taps.

    Args:
        arch (str | dict): ``'tiny'``, ``'base'``, another arch of ConvNeXt, or a dict
            with ``depths`` and ``channels``. Defaults to ``'tiny'``.
        variant (str): Defaults to ``'1d'``.
        in_channels (int): Defaults to 3.
        stem_channels (int): Channels inside of an oriented stem. Defaults to 64.
        offset (float): Turn of the directions in every second block, in half turns;
            0.25 is 45 degrees. Defaults to 0.5, as in the published networks.
        trained_sides (Sequence[int], optional): Sides of the maps of the stages in
            training, (56, 28, 14, 7) for 224 pixels. Defaults to None: all taps.
        deploy (bool): Built in deploy form, with dense kernels. Defaults to False.
        **kwargs: Arguments of mmpretrain's ConvNeXt, such as ``drop_path_rate``,
            ``layer_scale_init_value``, ``out_indices``, ``gap_before_final_norm``,
            ``frozen_stages``, ``with_cp``, ``init_cfg``.

    Input: (N, in_channels, H, W). Output: a tuple of maps of strides 4, 8, 16, 32,
    or of vectors with ``gap_before_final_norm``.

    Raises:
        ValueError: If the variant is unknown, or the sides do not fit the stages.
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        variant: str = '1d',
        in_channels: int = 3,
        stem_channels: int = 64,
        offset: float = 0.5,
        trained_sides: Sequence[int] | None = None,
        out_indices: int | Sequence[int] = -1,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        with_cp: bool = False,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        init_cfg: dict | list[dict] | None = None,
        deploy: bool = False,
        **kwargs,
    ) -> None:
        if variant not in VARIANTS:
            raise ValueError(
                f'variant must be one of {", ".join(VARIANTS)}, got {variant!r}'
            )
        norm_cfg = norm_cfg or dict(type='LN2d', eps=1e-6)
        act_cfg = act_cfg or dict(type='GELU')
        if init_cfg is None:
            layers = ['Conv2d', 'Linear', 'OrientedKernel']
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
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
            with_cp=with_cp,
            drop_path_rate=drop_path_rate,
            layer_scale_init_value=layer_scale_init_value,
            init_cfg=init_cfg,
            **kwargs,
        )
        first, middle, stem = VARIANTS[variant]
        if trained_sides is None:
            most = [max(first, middle)] * self.num_stages
        elif len(trained_sides) != self.num_stages:
            raise ValueError(
                f'trained_sides must have one number for each of {self.num_stages} '
                f'stages, got {list(trained_sides)}'
            )
        else:
            most = [2 * side - 1 for side in trained_sides]
        self.variant = variant
        if stem:
            self.downsample_layers[0] = OrientedStem(
                in_channels, self.channels[0], stem, stem_channels, norm_cfg, act_cfg
            )
        oriented = variant in ('1d', '1dpp')
        rates = [block.drop_path for stage in self.stages for block in stage]
        for channels, stage, limit in zip(self.channels, self.stages, most):
            for j in range(len(stage)):
                stage[j] = OrientedConvNeXtBlock(
                    channels,
                    min(first, limit) if oriented else first,
                    oriented,
                    min(middle, limit),
                    offset * (j % 2),
                    norm_cfg=norm_cfg,
                    act_cfg=act_cfg,
                    layer_scale_init_value=layer_scale_init_value,
                    with_cp=with_cp,
                )
                stage[j].drop_path = rates.pop(0)
        self._freeze_stages()
        if deploy:
            self.switch_to_deploy()

    def switch_to_deploy(self) -> None:
        """Make the kernels dense weights, of plain convolutions, in place.

        For other programs; here, oriented kernels are faster as they are.
        """
        for module in self.modules():
            if isinstance(module, OrientedConv2d):
                module.switch_to_deploy()

    def train(self, mode: bool = True) -> OrientedConvNeXt:
        """Set the mode; frozen stages stay in eval mode."""
        super().train(mode)
        return self  # which mmpretrain's (1.2.0) does not
