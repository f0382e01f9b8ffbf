"""The ResNet of CIFAR: the baseline of networks for small images.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
mmpretrain's ``ResNet_CIFAR`` is another network: that of ImageNet with another stem.
"""

from __future__ import annotations

import torch.nn.functional as F
from mmpretrain.models.backbones import ResNet_CIFAR
from mmpretrain.models.backbones.resnet import BasicBlock
from torch import Tensor, nn

from smpconv_mm.registry import MODELS


class PaddedShortcut(nn.Module):
    """Every second place, and zeros for the new channels on both sides (option A).

    Args:
        new_channels (int): How many more channels there are, even.
    """

    def __init__(self, new_channels: int) -> None:
        super().__init__()
        self.new_channels = new_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + new_channels, ceil(H / 2), ceil(W / 2))."""
        half = self.new_channels // 2
        return F.pad(x[..., ::2, ::2], (0, 0, 0, 0, half, self.new_channels - half))


@MODELS.register_module()
class CIFARResNet(ResNet_CIFAR):
    """Three stages of basic blocks with 16, 32 and 64 channels.

    Args:
        depth (int): 20, 32, 44, 56 or 110.
        **kwargs: Of mmpretrain's ``ResNet``, such as ``in_channels`` and
            ``norm_cfg``.

    Input: images (N, in_channels, H, W). Output: a tuple of the last map, (N, 64,
    ceil(H / 4), ceil(W / 4)).

    Raises:
        KeyError: If there is no network of this depth.
    """

    arch_settings = {
        2 + 6 * blocks: (BasicBlock, (blocks,) * 3) for blocks in (3, 5, 7, 9, 18)
    }

    def __init__(self, depth: int, **kwargs) -> None:
        stages = dict(
            num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,)
        )
        widths = dict(stem_channels=16, base_channels=16)
        super().__init__(depth, **{**stages, **widths, **kwargs})

    def make_res_layer(self, **kwargs) -> nn.Module:
        """A stage; its shortcut has no weights."""
        layer = super().make_res_layer(**kwargs)
        first = layer[0]
        if first.downsample is not None:
            first.downsample = PaddedShortcut(first.out_channels - first.in_channels)
        return layer

    def train(self, mode: bool = True) -> CIFARResNet:
        """Set the mode and return the network, which mmpretrain's does not."""
        super().train(mode)
        return self
