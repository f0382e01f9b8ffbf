"""RedNet and CedNet: ResNets whose 3 x 3 convolutions are involutions.

Li et al., "Involution: Inverting the Inherence of Convolution for Visual
Recognition", CVPR 2021 (RedNet), and its successor with C-volution, PRCV 2023
(CedNet).
"""

from __future__ import annotations

from mmcv.cnn import ConvModule, build_norm_layer
from mmpretrain.models import ResNet
from mmpretrain.models.backbones.resnet import Bottleneck
from torch import nn

from smpconv_mm.registry import MODELS


class InvolutionBottleneck(Bottleneck):
    """Bottleneck block with an involution in the middle.

    Args:
        *args: Arguments of mmpretrain's ``Bottleneck``.
        involution_cfg (dict): Type and arguments of the layer in the middle, as
            :class:`RedNet` gives them.
        **kwargs: Named arguments of mmpretrain's ``Bottleneck``.
    """

    def __init__(self, *args, involution_cfg: dict, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.conv2 = MODELS.build(
            dict(
                involution_cfg,
                channels=self.mid_channels,
                stride=self.conv2_stride,
                dilation=self.dilation,
            )
        )


@MODELS.register_module()
class RedNet(ResNet):
    """ResNet with involutions, also in its stem.

    Args:
        depth (int): 26, 38, 50, 101 or 152.
        stem_kernel_size (int): Side of the kernels of the stem's involution: 3 in
            the published classifiers, 7 in the published detectors and segmenters
            (whose checkpoints differ in it). Defaults to 3.
        kernel_size (int): Side of the kernels in the blocks. Defaults to 7.
        involution_cfg (dict, optional): Type and arguments of the involutions.
            Defaults to None: ``dict(type='smpconv_mm.Involution2d')``. Its norm is
            ``norm_cfg`` if it names no other.
        dilations (Sequence[int]): Dilation of the involutions of each stage.
            Defaults to (1, 1, 1, 1).
        **kwargs: ``in_channels``, ``base_channels``, ``stem_channels``,
            ``strides``, ``out_indices``, ``style``, ``avg_down``,
            ``frozen_stages``, ``conv_cfg`` (of the 1 x 1 convolutions and the
            stem's others), ``norm_cfg``, ``norm_eval``, ``with_cp``,
            ``zero_init_residual``, ``drop_path_rate`` and ``init_cfg`` of
            mmpretrain's ``ResNet``.

    Input: (N, in_channels, H, W). Output: a tuple, an entry each of
    ``out_indices``, of maps with 256, 512, 1024 and 2048 channels and sides of
    1/4, 1/8, 1/16 and 1/32.

    Raises:
        KeyError: If there is no such ``depth``.
        ValueError: If the channels of an involution are not multiples of its
            ``group_channels`` and ``reduction_ratio``.
    """

    arch_settings = {
        26: (InvolutionBottleneck, (1, 2, 4, 1)),
        38: (InvolutionBottleneck, (2, 3, 5, 2)),
        50: (InvolutionBottleneck, (3, 4, 6, 3)),
        101: (InvolutionBottleneck, (3, 4, 23, 3)),
        152: (InvolutionBottleneck, (3, 8, 36, 3)),
    }
    involution_type = 'smpconv_mm.Involution2d'

    def __init__(
        self,
        depth: int,
        stem_kernel_size: int = 3,
        kernel_size: int = 7,
        involution_cfg: dict | None = None,
        *,
        norm_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        norm_cfg = norm_cfg or dict(type='BN', requires_grad=True)
        self._involution_cfg = {
            'type': self.involution_type,
            'norm_cfg': norm_cfg,
            **(involution_cfg or {}),
        }
        self._kernel_sizes = stem_kernel_size, kernel_size
        super().__init__(depth, norm_cfg=norm_cfg, deep_stem=True, **kwargs)

    def make_res_layer(self, **kwargs) -> nn.Module:
        """Make a stage of blocks with involutions."""
        cfg = dict(self._involution_cfg, kernel_size=self._kernel_sizes[1])
        return super().make_res_layer(**kwargs, involution_cfg=cfg)

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        width = stem_channels // 2
        cfgs = dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg)
        self.stem = nn.Sequential(
            ConvModule(in_channels, width, 3, stride=2, padding=1, **cfgs),
            MODELS.build(
                dict(
                    self._involution_cfg,
                    channels=width,
                    kernel_size=self._kernel_sizes[0],
                )
            ),
            build_norm_layer(self.norm_cfg, width)[1],
            nn.ReLU(inplace=True),
            ConvModule(width, stem_channels, 3, padding=1, **cfgs),
        )
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

    def train(self, mode: bool = True) -> RedNet:
        """Set the mode, frozen stages and norms apart; return the network."""
        super().train(mode)
        return self


@MODELS.register_module()
class CedNet(RedNet):
    """ResNet with C-volutions, also in its stem.

    Args:
        depth (int): 26, 38, 50, 101 or 152.
        stem_kernel_size (int): Side of the kernels of the stem's C-volution.
            Defaults to 7.
        **kwargs: The other arguments of :class:`RedNet`; the default of
            ``involution_cfg`` is ``dict(type='smpconv_mm.CVolution2d')``.

    Input and output: as those of :class:`RedNet`.
    """

    involution_type = 'smpconv_mm.CVolution2d'

    def __init__(self, depth: int, stem_kernel_size: int = 7, **kwargs) -> None:
        super().__init__(depth, stem_kernel_size, **kwargs)
