"""Heads of mmdet with involutions ("Involution", CVPR 2021, section 4.2)."""

from __future__ import annotations

from mmdet.models.dense_heads import RPNHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from smpconv_mm.layers import Involution2d


class InvolutionRPNHead(RPNHead):
    """mmdet's ``RPNHead`` with an involution in place of its 3 x 3 convolution.

    Args:
        in_channels (int): Channels of the maps, a multiple of 16.
        kernel_size (int): Side of the kernels. Defaults to 7.
        init_cfg (dict | list[dict], optional): Defaults to normal numbers of
            deviation 0.01 in the two convolutions that predict.
        **kwargs: Other arguments of ``RPNHead``; ``feat_channels`` has to equal
            ``in_channels``.

    Raises:
        ValueError: If the channels differ, or ``num_convs`` is not 1.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int = 7,
        init_cfg: dict | list[dict] | None = None,
        **kwargs,
    ) -> None:
        self._kernel_size = kernel_size
        if init_cfg is None:
            predict = [
                dict(type='Normal', name=f'rpn_{n}', std=0.01) for n in ('cls', 'reg')
            ]
            init_cfg = dict(type='Normal', std=0.01, override=predict)
        super().__init__(in_channels, init_cfg=init_cfg, **kwargs)

    def _init_layers(self) -> None:
        if self.feat_channels != self.in_channels or self.num_convs != 1:
            raise ValueError(
                'InvolutionRPNHead has one involution, which keeps the channels: '
                f'feat_channels must be {self.in_channels} and num_convs 1, got '
                f'{self.feat_channels} and {self.num_convs}'
            )
        super()._init_layers()
        self.rpn_conv = Involution2d(self.in_channels, self._kernel_size)


class InvolutionMaskHead(FCNMaskHead):
    """mmdet's ``FCNMaskHead`` with involutions in place of its 3 x 3 convolutions.

    Args:
        num_convs (int): Number of involutions, each with a ReLU. Defaults to 4.
        in_channels (int): Channels of the regions, a multiple of 16. Defaults to 256.
        conv_kernel_size (int): Side of the kernels. Defaults to 7.
        conv_out_channels (int): Has to equal ``in_channels``. Defaults to 256.
        **kwargs: Other arguments of ``FCNMaskHead``.

    Raises:
        ValueError: If the channels differ.
    """

    def __init__(
        self,
        num_convs: int = 4,
        in_channels: int = 256,
        conv_kernel_size: int = 7,
        conv_out_channels: int = 256,
        **kwargs,
    ) -> None:
        if conv_out_channels != in_channels:
            raise ValueError(
                'InvolutionMaskHead keeps the channels: conv_out_channels must be '
                f'{in_channels}, got {conv_out_channels}'
            )
        super().__init__(
            num_convs=num_convs,
            in_channels=in_channels,
            conv_kernel_size=conv_kernel_size,
            conv_out_channels=conv_out_channels,
            **kwargs,
        )
        self.convs = nn.ModuleList(
            nn.Sequential(
                Involution2d(in_channels, conv_kernel_size), nn.ReLU(inplace=True)
            )
            for _ in range(num_convs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Masks of regions (R, in_channels, H, W): (R, classes, 2 H, 2 W)."""
        if len(x) or not self.training:
            return super().forward(x)
        # no regions have no statistics
        norms = [m for m in self.modules() if isinstance(m, _BatchNorm) and m.training]
        for norm in norms:
            norm.eval()
        out = super().forward(x)
        for norm in norms:
            norm.train()
        return out
