"""Feature pyramids whose output layers are involutions or C-volutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from smpconv_mm.registry import MODELS

_SOURCES = ('on_input', 'on_lateral', 'on_output')


@MODELS.register_module()
class InvolutionFPN(BaseModule):
    """FPN with an involution in place of each 3 x 3 convolution after the sums.

    Li et al., "Involution", CVPR 2021, section 4.2; with
    ``involution_cfg=dict(type='smpconv_mm.CVolution2d', kernel_size=7)`` that of the
    C-volution detectors. For mmdet and mmseg.

    Args:
        in_channels (Sequence[int]): Channels of the maps of the backbone.
        out_channels (int): Channels of all outputs, a multiple of 16.
        num_outs (int): Number of outputs. Those beyond the maps of the backbone are
            the last one subsampled by 2, or made by ``add_extra_convs``.
        start_level (int): First map that is used. Defaults to 0.
        add_extra_convs (bool | str): Make further outputs by 3 x 3 convolutions of
            stride 2, the first from ``'on_input'`` (or True), the last map of the
            backbone, ``'on_lateral'``, the last sum, or ``'on_output'``, the last
            output. Defaults to False.
        relu_before_extra_convs (bool): ReLU before all but the first of them.
            Defaults to False.
        involution_cfg (dict): Type and arguments of the output layers. Defaults to
            ``dict(type='smpconv_mm.Involution2d', kernel_size=7)``.
        conv_cfg (dict, optional): Of the 1 x 1 and the extra convolutions.
        norm_cfg (dict, optional): Norm after them. Defaults to None.
        act_cfg (dict, optional): Activation after them. Defaults to None.
        init_cfg (dict | list[dict]): Defaults to Xavier's uniform numbers in all
            convolutions, those inside of involutions too.

    Input: maps (N, in_channels[i], H_i, W_i), from large to small. Output: a tuple of
    maps of ``out_channels``; the first ones have the sizes of the maps of the backbone.

    Raises:
        ValueError: If ``num_outs`` or ``add_extra_convs`` is wrong, or the number of
            maps is another.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int,
        start_level: int = 0,
        add_extra_convs: bool | str = False,
        relu_before_extra_convs: bool = False,
        involution_cfg: dict | None = None,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            init_cfg or dict(type='Xavier', layer='Conv2d', distribution='uniform')
        )
        used = list(in_channels)[start_level:]
        if not used or num_outs < len(used):
            raise ValueError(
                f'num_outs must be at least the number of maps from start_level='
                f'{start_level} on, {len(used)} (and that at least 1), got {num_outs}'
            )
        if add_extra_convs is True:
            add_extra_convs = 'on_input'
        if add_extra_convs and add_extra_convs not in _SOURCES:
            raise ValueError(
                f'add_extra_convs must be a bool or one of {", ".join(_SOURCES)}, got '
                f'{add_extra_convs!r}'
            )
        self.in_channels, self.out_channels = list(in_channels), out_channels
        self.num_outs, self.start_level = num_outs, start_level
        self.add_extra_convs = add_extra_convs
        self.relu_before_extra_convs = relu_before_extra_convs
        cfgs = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.lateral_convs = nn.ModuleList(
            ConvModule(channels, out_channels, 1, inplace=False, **cfgs)
            for channels in used
        )
        involution_cfg = {
            'type': 'smpconv_mm.Involution2d',
            'kernel_size': 7,
            **(involution_cfg or {}),
        }
        self.fpn_convs = nn.ModuleList(
            MODELS.build(dict(involution_cfg, channels=out_channels)) for _ in used
        )
        if add_extra_convs:
            first = used[-1] if add_extra_convs == 'on_input' else out_channels
            for i in range(num_outs - len(used)):
                channels = out_channels if i else first
                conv = ConvModule(
                    channels, out_channels, 3, 2, padding=1, inplace=False, **cfgs
                )
                self.fpn_convs.append(conv)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Make the pyramid."""
        if len(inputs) != len(self.in_channels):
            raise ValueError(
                f'InvolutionFPN takes {len(self.in_channels)} maps, got {len(inputs)}'
            )
        levels = len(self.lateral_convs)
        sums = [
            conv(x) for conv, x in zip(self.lateral_convs, inputs[self.start_level :])
        ]
        for i in reversed(range(1, levels)):
            size = sums[i - 1].shape[2:]
            sums[i - 1] = sums[i - 1] + F.interpolate(sums[i], size, mode='nearest')
        outs = [conv(x) for conv, x in zip(self.fpn_convs, sums)]
        sources = dict(on_input=inputs[-1], on_lateral=sums[-1], on_output=outs[-1])
        source = sources.get(self.add_extra_convs)
        for i in range(levels, self.num_outs):
            if source is None:
                outs.append(F.max_pool2d(outs[-1], 1, stride=2))
                continue
            outs.append(self.fpn_convs[i](source))
            source = outs[-1].relu() if self.relu_before_extra_convs else outs[-1]
        return tuple(outs)
