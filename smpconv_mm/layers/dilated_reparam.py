"""A large depthwise kernel trained with parallel dilated ones: UniRepLKNet's.

Ding et al., "UniRepLKNet: A Universal Perception Large-Kernel ConvNet", CVPR 2024
(section 3.1, the dilated reparam block).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from smpconv_mm.registry import MODELS

from .depthwise_conv import DepthwiseConv2d, spread
from .reparam import fuse_conv_bn

# side of the large kernel: (side, dilation) of each parallel one
BRANCHES = {
    5: ((3, 1), (3, 2)),
    7: ((5, 1), (3, 2), (3, 3)),
    9: ((5, 1), (5, 2), (3, 3), (3, 4)),
    11: ((5, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
    13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
    15: ((5, 1), (7, 2), (3, 3), (3, 5), (3, 7)),
    17: ((5, 1), (9, 2), (3, 4), (3, 5), (3, 7)),
}


@MODELS.register_module()
class DilatedReparamConv2d(nn.Module):
    """Sum of a large depthwise convolution and dilated small ones, each with norm.

    Maps keep their size. In deploy form it is ``conv``, one depthwise convolution of
    the large kernel's size with bias, equal up to rounding.

    Args:
        channels (int): Channels in and out.
        kernel_size (int): Side of the large kernel, odd.
        branches (Sequence[tuple[int, int]], optional): Side (odd) and dilation of each
            parallel kernel, none of which may reach beyond the large one. Defaults to
            None: those of the paper, for sides 5, 7, ..., 17.
        norm_cfg (dict, optional): Batch norm after each convolution. Defaults to
            None: ``dict(type='BN')``.
        deploy (bool): Build the deploy form. Defaults to False.

    Input and output: (N, channels, H, W).

    Raises:
        ValueError: If a side is even, a branch reaches too far, or there are no
            branches for ``kernel_size``.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        branches: Sequence[tuple[int, int]] | None = None,
        norm_cfg: dict | None = None,
        deploy: bool = False,
    ) -> None:
        super().__init__()
        if branches is None:
            if kernel_size not in BRANCHES:
                raise ValueError(
                    f'kernel_size must be one of {", ".join(map(str, BRANCHES))}, got '
                    f'{kernel_size}; for others give branches'
                )
            branches = BRANCHES[kernel_size]
        convs = dict(large=(kernel_size, 1))
        convs.update({f'k{side}_{rate}': (side, rate) for side, rate in branches})
        for side, rate in convs.values():
            if side % 2 == 0 or rate < 1 or rate * (side - 1) >= kernel_size:
                raise ValueError(
                    'sides must be odd, dilations at least 1, and no branch may reach '
                    f'beyond the kernel of side {kernel_size}, got side {side} with '
                    f'dilation {rate}'
                )
        self.channels = channels
        self.kernel_size = kernel_size
        self.branches = self.conv = None
        if deploy:
            self.conv = self._plain_conv()
            return
        self.branches = nn.ModuleDict()
        for name, (side, rate) in convs.items():
            self.branches[name] = ConvModule(
                channels,
                channels,
                side,
                padding=rate * (side // 2),
                dilation=rate,
                groups=channels,
                conv_cfg=dict(type='smpconv_mm.DepthwiseConv2d'),
                norm_cfg=norm_cfg or dict(type='BN'),
                act_cfg=None,
            )

    def _plain_conv(self) -> DepthwiseConv2d:
        return DepthwiseConv2d(
            self.channels,
            self.channels,
            self.kernel_size,
            padding=self.kernel_size // 2,
            groups=self.channels,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the same shape."""
        if self.branches is None:
            return self.conv(x)
        return sum(branch(x) for branch in self.branches.values())

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Merge all convolutions and their norms into one, in place."""
        if self.branches is None:
            return
        total = total_bias = 0
        for branch in self.branches.values():
            weight, bias = fuse_conv_bn(branch.conv.weight, None, branch.norm)
            weight = spread(weight, branch.conv.dilation)
            total = total + F.pad(
                weight, 4 * ((self.kernel_size - weight.shape[-1]) // 2,)
            )
            total_bias = total_bias + bias
        self.conv = self._plain_conv()
        self.conv.weight, self.conv.bias = nn.Parameter(total), nn.Parameter(total_bias)
        self.branches = None
