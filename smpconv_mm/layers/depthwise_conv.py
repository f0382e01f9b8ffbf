"""Ordinary depthwise convolution with the gradients of our operation."""

from __future__ import annotations

from mmcv.cnn.bricks import wrappers
from torch import Tensor, nn

from smpconv_mm import ops
from smpconv_mm.registry import MODELS


@MODELS.register_module()
class DepthwiseConv2d(nn.Conv2d):
    """``nn.Conv2d`` that is several times faster where it is depthwise.

    Its arguments, parameters and outputs are those of ``nn.Conv2d``. Where
    ``groups`` is the number of channels, sides are odd, the stride is 1 and
    the map keeps its size, :func:`smpconv_mm.ops.depthwise_conv2d` does the work; of a
    dilated kernel with zeros between its taps.

    Input: (N, in_channels, H, W). Output: (N, out_channels, H', W').
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``input``."""
        if input.dim() != 4 or not serves(self):
            return super().forward(input)
        return ops.depthwise_conv2d(
            input, spread(self.weight, self.dilation), self.bias
        )


def serves(conv: nn.Conv2d) -> bool:
    """Whether our operation computes what a convolution of torch does."""
    same = tuple(d * (k // 2) for k, d in zip(conv.kernel_size, conv.dilation))
    return (
        conv.groups == conv.in_channels == conv.out_channels
        and all(k % 2 for k in conv.kernel_size)
        and conv.stride == (1, 1)
        and conv.padding in (same, 'same')
        and conv.padding_mode == 'zeros'
    )


def spread(weight: Tensor, dilation: tuple[int, ...]) -> Tensor:
    """The kernel with zeros between its taps."""
    if dilation == (1, 1):
        return weight
    size = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation)]
    spread = weight.new_zeros(*weight.shape[:2], *size)
    spread[:, :, :: dilation[0], :: dilation[1]] = weight
    return spread


def accelerate(model: nn.Module, enable: bool = True) -> nn.Module:
    """Let our operation compute the depthwise convolutions of any network, in place.

    Each ``nn.Conv2d`` that it serves becomes a :class:`DepthwiseConv2d`, with the same
    parameters, hooks and outputs (up to rounding) and the same state dict. For example
    RepLKNet, ConvNeXt, HorNet and VAN of mmpretrain or timm.

    Args:
        model (nn.Module): Any network. Convolutions of subclasses of ``nn.Conv2d``
            (but mmcv's) stay as they are.
        enable (bool): False undoes it. Defaults to True.

    Returns:
        nn.Module: ``model`` itself.
    """
    plain = nn.Conv2d, wrappers.Conv2d  # mmcv's, which older versions of torch need
    for module in model.modules():
        if enable and type(module) in plain and serves(module):
            module.__class__ = DepthwiseConv2d
        elif not enable and type(module) is DepthwiseConv2d:
            module.__class__ = nn.Conv2d
    return model
