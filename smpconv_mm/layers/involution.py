"""Layers whose kernels depend on the input: involution and C-volution.

Li et al., "Involution: Inverting the Inherence of Convolution for Visual
Recognition", CVPR 2021. C-volution (PRCV 2023) adds a gate for the channels.
"""

from __future__ import annotations

import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_activation_layer, build_norm_layer
from torch import Tensor, nn

from smpconv_mm import ops
from smpconv_mm.registry import MODELS


@MODELS.register_module()
class Involution2d(nn.Module):
    """Convolution with a kernel of its own at every place.

    Two 1 x 1 convolutions make the kernels from the input, one for each group of
    channels (CVPR 2021, section 3). The number of channels stays.

    Args:
        channels (int): Channels of input and output, C.
        kernel_size (int): Side of the kernels, K, odd.
        stride (int): Step between outputs. Kernels are then made from the means
            of ``stride`` x ``stride`` places. Defaults to 1.
        group_channels (int): Channels that share a kernel; divides ``channels``.
            Defaults to 16.
        reduction_ratio (int): Channels over those between the two convolutions;
            divides ``channels``. Defaults to 4.
        dilation (int): Step between the places of a window. Defaults to 1.
        bias (bool): Whether each channel of the output has a bias, which the
            published layer has not. Defaults to False.
        ceil_mode (bool): Take maps whose sides ``stride`` does not divide: their
            last outputs have kernels made from the places that are there. Where
            it divides them, nothing changes. Defaults to True.
        norm_cfg (dict): Norm between the two convolutions. Defaults to
            ``dict(type='BN')``.
        act_cfg (dict): Activation after the norm. Defaults to
            ``dict(type='ReLU')``.

    Input: (N, C, H, W). Output: (N, C, ceil(H / stride), ceil(W / stride)).

    Raises:
        ValueError: If an argument is wrong, the input has other channels, or
            without ``ceil_mode`` its sides are not multiples of ``stride``.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        stride: int = 1,
        group_channels: int = 16,
        reduction_ratio: int = 4,
        *,
        dilation: int = 1,
        bias: bool = False,
        ceil_mode: bool = True,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f'{name}: kernel_size must be odd, got {kernel_size}')
        if stride < 1 or dilation < 1:
            raise ValueError(
                f'{name}: stride and dilation must be at least 1, got {stride} and '
                f'{dilation}'
            )
        for key, value in dict(
            group_channels=group_channels, reduction_ratio=reduction_ratio
        ).items():
            if value < 1 or channels % value:
                raise ValueError(
                    f'{name}: channels must be a multiple of {key}, got {channels} '
                    f'channels and {key}={value}'
                )
        self.in_channels = self.out_channels = channels
        self.kernel_size, self.stride, self.dilation = kernel_size, stride, dilation
        self.padding = dilation * (kernel_size - 1) // 2
        self.groups = channels // group_channels
        self.ceil_mode = ceil_mode
        # what ConvModule asks of a convolution
        self.transposed, self.output_padding = False, 0
        self._make_branch(
            channels // reduction_ratio,
            norm_cfg or dict(type='BN'),
            act_cfg or dict(type='ReLU'),
        )
        self.bias = None
        if bias:
            self.bias = nn.Parameter(self._last_conv().bias.new_zeros(channels))

    def _make_branch(self, hidden: int, norm_cfg: dict, act_cfg: dict) -> None:
        """Make ``conv1`` and ``conv2``, which turn the input into kernels."""
        self.conv1 = ConvModule(
            self.in_channels, hidden, 1, norm_cfg=norm_cfg, act_cfg=act_cfg
        )
        taps = self.kernel_size**2 * self.groups
        self.conv2 = ConvModule(hidden, taps, 1, norm_cfg=None, act_cfg=None)

    def _last_conv(self) -> nn.Conv2d:
        return self.conv2.conv

    def make_kernels(self, x: Tensor) -> Tensor:
        """Make the kernels for an input.

        Args:
            x (Tensor): Shape (N, C, H, W).

        Returns:
            Tensor: Shape (N, groups, K, K, P, Q), a kernel for each of the P x Q
            outputs.
        """
        if self.stride > 1:
            # a plain one where it can be, for exporters
            exact = not any(size % self.stride for size in x.shape[-2:])
            if not exact and not self.ceil_mode:
                raise ValueError(
                    f'{type(self).__name__}: with ceil_mode=False the sides of the map '
                    f'must be multiples of stride {self.stride}, got '
                    f'{tuple(x.shape[-2:])}'
                )
            x = F.avg_pool2d(x, self.stride, self.stride, ceil_mode=not exact)
        kernels = self.conv2(self.conv1(x))
        sides = (self.groups, self.kernel_size, self.kernel_size)
        return kernels.unflatten(1, sides)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x`` with the kernels made from it."""
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(
                f'{type(self).__name__}: input must have shape (N, {self.in_channels}, '
                f'H, W), got {tuple(x.shape)}'
            )
        return ops.involution(
            x,
            self.make_kernels(x),
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )

    def extra_repr(self) -> str:
        """Return the settings."""
        names = ('kernel_size', 'stride', 'dilation', 'groups')
        parts = [f'{name}={getattr(self, name)}' for name in names]
        return ', '.join([str(self.in_channels), *parts])


@MODELS.register_module()
class CVolution2d(Involution2d):
    """Involution with a gate for each channel.

    The output of :class:`Involution2d` times the mean of a grouped 3 x 3
    convolution of the input, ``conv_q``, which has the padding ``K // 2``
    (PRCV 2023). The gate is not bounded, and depends on the size of the map: a
    network should see the size that it was trained with.

    Args:
        *args: ``channels``, ``kernel_size`` and ``stride`` of
            :class:`Involution2d`.
        gate_groups (int): Groups of the 3 x 3 convolution; divides the channels.
            The published sizes are those of 16. Defaults to 16.
        **kwargs: The others of :class:`Involution2d`.

    Input and output: as those of :class:`Involution2d`.

    Raises:
        ValueError: As :class:`Involution2d`, or if ``gate_groups`` does not divide
            the channels.
    """

    def __init__(self, *args, gate_groups: int = 16, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        channels = self.in_channels
        if gate_groups < 1 or channels % gate_groups:
            raise ValueError(
                f'CVolution2d: channels must be a multiple of gate_groups, got '
                f'{channels} channels and gate_groups={gate_groups}'
            )
        self.conv_q = nn.Conv2d(
            channels,
            channels,
            3,
            padding=self.kernel_size // 2,
            groups=gate_groups,
            bias=False,
        )

    def _make_branch(self, hidden: int, norm_cfg: dict, act_cfg: dict) -> None:
        norm = build_norm_layer(norm_cfg, hidden)[1]
        act = build_activation_layer(act_cfg)
        self.conv1 = nn.Sequential(nn.Conv2d(self.in_channels, hidden, 1), norm, act)
        taps = self.kernel_size**2 * self.groups
        self.conv2 = nn.Sequential(nn.Conv2d(hidden, taps, 1))

    def _last_conv(self) -> nn.Conv2d:
        return self.conv2[0]

    def gate(self, x: Tensor) -> Tensor:
        """Return the factor of each channel, (N, C, 1, 1), for an input."""
        if self.kernel_size < 5:
            return self.conv_q(x).mean((2, 3), keepdim=True)
        # With 2 or more zeros around, each tap meets every place of the map, so that
        # the mean of the convolution is a linear function of the means of the input.
        height, width = x.shape[-2:]
        more = 2 * (self.kernel_size // 2) - 2
        share = height * width / ((height + more) * (width + more))
        taps = self.conv_q.weight.sum((2, 3), keepdim=True)
        means = x.mean((2, 3), keepdim=True)
        return share * F.conv2d(means, taps, groups=self.conv_q.groups)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x`` and multiply by the gate."""
        return super().forward(x) * self.gate(x)


class _ConvArguments:
    """The arguments of a convolution, for a layer that can stand for some of them."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 'same',
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        **kwargs,
    ) -> None:
        name = type(self).__name__
        if in_channels != out_channels or groups != 1:
            raise ValueError(
                f'{name} keeps the channels and has groups of its own: it cannot stand '
                f'for a convolution of {in_channels} to {out_channels} channels with '
                f'groups={groups}'
            )
        sides = {'kernel_size': kernel_size, 'stride': stride, 'dilation': dilation}
        for key, value in sides.items():
            pair = value if isinstance(value, (tuple, list)) else (value, value)
            if pair[0] != pair[1]:
                raise ValueError(f'{name}: {key} must be square, got {value}')
            sides[key] = pair[0]
        super().__init__(in_channels, bias=bias, **sides, **kwargs)
        if padding not in ('same', self.padding, (self.padding, self.padding)):
            raise ValueError(
                f"{name} pads by {self.padding} ('same'), got padding={padding}"
            )


@MODELS.register_module()
class InvolutionConv2d(_ConvArguments, Involution2d):
    """:class:`Involution2d` with the arguments of a convolution, for ``conv_cfg``.

    In any network whose convolutions are named in its config::

        conv_cfg=dict(type='smpconv_mm.InvolutionConv2d', group_channels=8)

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): The same number.
        kernel_size (int | tuple[int, int]): Side of the kernels, odd, square.
        stride (int | tuple[int, int]): Defaults to 1.
        padding (int | tuple[int, int] | str): That which keeps the size of the map
            at stride 1. Defaults to ``'same'``.
        dilation (int | tuple[int, int]): Defaults to 1.
        groups (int): 1.
        bias (bool): Defaults to True.
        **kwargs: The others of :class:`Involution2d`.

    Raises:
        ValueError: If it cannot stand for such a convolution.
    """


@MODELS.register_module()
class CVolutionConv2d(_ConvArguments, CVolution2d):
    """:class:`CVolution2d` with the arguments of a convolution, for ``conv_cfg``.

    Args:
        *args: As those of :class:`InvolutionConv2d`.
        **kwargs: As those of :class:`InvolutionConv2d`, and ``gate_groups``.
    """
