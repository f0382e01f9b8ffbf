"""Kernels with taps on lines, a direction per output channel, and their layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smpconv_mm import ops
from smpconv_mm.ops.oriented_conv import dense_kernel
from smpconv_mm.registry import MODELS

from .kernel import Kernel, is_whole
from .kernel_conv import KernelConv2d


def line_angles(channels: int, directions: int = 8, offset: float = 0.0) -> Tensor:
    """Angles of channels in contiguous groups, one direction per group.

    Group ``g`` has the angle ``pi * frac(g / directions + offset)``. The networks
    of the paper take offset 0.5, which turns by 90 degrees, in every second block;
    0.25 turns by 45 degrees.

    Args:
        channels (int): Number of channels, fewer than directions too.
        directions (int): Number of groups. Defaults to 8.
        offset (float): In half turns. Defaults to 0.

    Returns:
        Tensor: Radians in [0, pi), float32, shape (channels,).
    """
    groups = [(directions * (c + 1) - 1) // channels for c in range(channels)]
    turns = [math.pi * ((g / directions + offset) % 1) for g in groups]
    return torch.tensor(turns, dtype=torch.float32)


@MODELS.register_module()
class OrientedKernel(Kernel):
    """Taps on a line through the centre ("Oriented 1D Kernels", ICCV 2023).

    Where taps lie is told by :func:`smpconv_mm.ops.oriented_conv2d`; here they are
    scattered into a dense kernel with zeros elsewhere. At another ``kernel_size``
    than the trained one the taps are interpolated along the line, and scaled by the
    ratio of their numbers.

    Args:
        in_channels (int): Input channels of one group.
        out_channels (int): Output channels.
        kernel_size (int | Sequence[int]): Taps, odd; the dense kernel is a square of
            that side.
        ndim (int): 2; there are no other oriented kernels. Defaults to 2.
        angle (float | Sequence[float] | Tensor, optional): Radians, one for all
            output channels or one each. Defaults to None: :func:`line_angles` with
            ``directions`` and ``offset``.
        directions (int): Defaults to 8.
        offset (float): In half turns. Defaults to 0.
        residual (bool): Add 1 to the tap at the centre, so that the layer adds its
            input to its output; for depthwise convolutions. Defaults to False.
        **kwargs: ``causal`` and ``depthwise`` of :class:`Kernel`.

    Attributes:
        weight (Parameter): Taps of shape (out_channels, in_channels, 1, taps).
        angle (Tensor): Buffer of float32, shape (out_channels,); it stays float32
            under ``half()`` and the like, which would move taps.

    Raises:
        ValueError: If an argument is outside its range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        ndim: int = 2,
        *,
        angle: float | Sequence[float] | Tensor | None = None,
        directions: int = 8,
        offset: float = 0.0,
        residual: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, ndim, **kwargs)
        if ndim != 2:
            raise ValueError(f'an oriented kernel has 2 axes, got ndim={ndim}')
        self._check_size(self.kernel_size)
        if residual and not self.depthwise:
            raise ValueError(
                'residual=True needs a depthwise convolution: as many groups as input '
                'and output channels'
            )
        self.residual = residual
        taps = self.kernel_size[0]
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 1, taps))
        if angle is None:
            angle = line_angles(out_channels, directions, offset)
        angle = torch.as_tensor(angle, dtype=torch.float32).detach().clone()
        if angle.dim() == 0:
            angle = angle.repeat(out_channels)
        if angle.shape != (out_channels,):
            raise ValueError(
                f'angle must be one number or {out_channels} of them, got shape '
                f'{tuple(angle.shape)}'
            )
        if not angle.isfinite().all():
            raise ValueError(f'angles must be finite, got {angle.tolist()}')
        self.register_buffer('angle', angle)
        self.reset_parameters()

    @staticmethod
    def _check_size(size: Sequence[int]) -> None:
        if len(set(size)) > 1 or size[0] % 2 == 0:
            raise ValueError(
                'an oriented kernel has one odd number of taps, as one is at the '
                f'centre, got kernel_size={tuple(size)}'
            )

    def reset_parameters(self) -> None:
        """Draw new taps as ``nn.Conv2d`` does."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def taps(self) -> Tensor:
        """Taps in effect, (out_channels, in_channels, 1, kernel_size[0])."""
        weight, size = self.weight, self.kernel_size[0]
        self._check_size(self.kernel_size)
        if size != weight.shape[-1]:
            weight = weight.float() if weight.itemsize < 4 else weight
            line = F.interpolate(
                weight.flatten(1, 2), size, mode='linear', align_corners=True
            )
            weight = line.unflatten(1, (-1, 1)) * (self.weight.shape[-1] / size)
        if self.residual:
            centre = torch.arange(size, device=weight.device) == size // 2
            weight = weight + centre.to(weight.dtype)
        return weight

    def sample(self) -> Tensor:
        """The dense kernel."""
        weight = self.taps()
        return dense_kernel(
            weight.float() if weight.itemsize < 4 else weight, self.angle
        )

    def scale(self) -> float:
        """1, as :meth:`taps` are scaled already, without the residual."""
        return 1.0

    def shapes_for(
        self, state_dict: Mapping[str, Tensor], prefix: str = ''
    ) -> dict[str, torch.Size]:
        """Taps take over the number that a state dict was trained at."""
        weight, size = (state_dict.get(prefix + k) for k in ('weight', '_trained_size'))
        if weight is None or size is None or not is_whole(weight):
            return {}
        shape = (*self.weight.shape[:3], int(size[-1]))
        return {'weight': weight.shape} if weight.shape == shape else {}

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors
    ) -> None:
        angle = state_dict.get(prefix + 'angle')
        if angle is not None and not angle.is_meta and not angle.isfinite().all():
            errors.append(f'{prefix}angle: angles must be finite, got {angle.tolist()}')
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing, unexpected, errors
        )

    def _apply(self, fn, *args, **kwargs):
        before = self.angle
        super()._apply(fn, *args, **kwargs)
        if self.angle.dtype != torch.float32:
            self.angle = before.to(self.angle.device)
        return self


@MODELS.register_module()
class OrientedConv2d(KernelConv2d):
    """Convolution with taps on lines.

    Arguments as for :class:`KernelConv2d`, and those of :class:`OrientedKernel`
    (``angle``, ``directions``, ``offset``, ``residual``). A depthwise layer that
    keeps the map's size (but for the stride, the same on both axes) calls
    :func:`smpconv_mm.ops.oriented_conv2d`, also for large maps on a GPU the fastest
    way; others, and the deploy form, convolve with the dense kernel.
    """

    kernel_type = 'OrientedKernel'

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``input`` (N, C, H, W) or (C, H, W)."""
        kernel = self.kernel
        fits = input.dim() == 4 and input.shape[1] == self.in_channels
        if kernel is None or not (fits and self._on_lines()):
            return super().forward(input)
        weight, bias = kernel.taps(), self.bias
        if input.is_meta or not torch.is_autocast_enabled(input.device.type):
            weight = weight.to(input.dtype)
            bias = None if bias is None else bias.to(input.dtype)
        return ops.oriented_conv2d(
            input, weight, kernel.angle, bias, stride=self.stride[0]
        )

    def _on_lines(self) -> bool:
        """Whether the operation for lines computes what the layer is to compute."""
        reach = self._size[0] // 2
        return (
            self._depthwise
            and self.stride[0] == self.stride[1]
            and self.dilation == (1, 1)
            and self.padding_mode == 'zeros'
            and self.padding in ('same', (reach, reach))
        )
