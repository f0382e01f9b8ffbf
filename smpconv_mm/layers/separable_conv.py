"""A depthwise convolution with a kernel that is made, and a 1x1 convolution."""

from __future__ import annotations

import warnings

from mmcv.cnn import ConvModule
from torch import Tensor, nn

from .kernel_conv import layer_for


class SeparableConv(nn.Module):
    """A depthwise convolution with a kernel that is made, then a 1x1 convolution.

    Args:
        in_channels (int): Channels in.
        out_channels (int): Channels out.
        kernel_size (int): Side of the depthwise kernel; inputs keep their size.
        ndim (int): 1 for sequences, 2 for maps. Defaults to 2.
        causal (bool): Outputs depend on their own and earlier samples only. Defaults
            to False.
        kernel_cfg (dict, optional): Type and arguments of the depthwise kernel.
            Defaults to None: :class:`~smpconv_mm.layers.CCNNKernel`.
        norm_cfg (dict, optional): Norm after the 1x1 convolution. Defaults to None.
        act_cfg (dict, optional): Activation at the end. Defaults to None.
        deploy (bool): Build the deploy form. Defaults to False.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        ndim: int = 2,
        causal: bool = False,
        kernel_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        deploy: bool = False,
    ) -> None:
        super().__init__()
        kernel = {'type': 'CCNNKernel', **(kernel_cfg or {})}
        self.depthwise_conv = layer_for(kernel, ndim)(
            in_channels,
            in_channels,
            kernel_size,
            padding='same',
            groups=in_channels,
            kernel=kernel,
            causal=causal,
            deploy=deploy,
        )
        self.pointwise_conv = pointwise(
            in_channels,
            out_channels,
            ndim,
            norm_cfg=None if deploy else norm_cfg,
            act_cfg=act_cfg,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, *spatial)`` to ``(N, out_channels, *spatial)``."""
        return self.pointwise_conv(self.depthwise_conv(x))


def pointwise(in_channels: int, out_channels: int, ndim: int, **kwargs) -> ConvModule:
    """A 1x1 convolution with bias, its weights from a normal of variance 2 / in."""
    with warnings.catch_warnings():
        # the published network has biases before a batch norm
        warnings.filterwarnings('ignore', 'Unnecessary conv bias')
        conv_cfg = dict(type=f'Conv{ndim}d')
        module = ConvModule(
            in_channels, out_channels, 1, bias=True, conv_cfg=conv_cfg, **kwargs
        )
    nn.init.kaiming_normal_(module.conv.weight, mode='fan_in', nonlinearity='relu')
    return module
