"""Kernels whose elements have learned positions (DCLS), and their layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from smpconv_mm.registry import MODELS

from .kernel import Kernel
from .kernel_conv import KernelConv1d, KernelConv2d, KernelConv3d

_VERSIONS = ('v0', 'v1', 'max', 'gauss')
# Standard deviation of a Gaussian whose width is 0, in taps
_LEAST_SIGMA = 0.27


@MODELS.register_module()
class DCLSKernel(Kernel):
    """Dilated convolution with learnable spacings (DCLS, ICLR 2023).

    Each pair of an output and an input channel has ``n_points`` elements, each with a
    weight and a real position. ``version`` says how an element at ``p`` spreads over
    the taps along each axis; ``d`` is the distance to ``p``:

    =========  ==================================================  ==============
    version    along an axis                                       sums to 1
    =========  ==================================================  ==============
    ``v0``     linear interpolation between the two nearest taps   inside
    ``v1``     triangle, ``max(0, 1 - d)``                         over the taps
    ``max``    triangle, ``max(0, 1 + |width| - d)``               over the taps
    ``gauss``  ``exp(-(d / (|width| + 0.27))**2 / 2)``             over the taps
    =========  ==================================================  ==============

    Positions are in taps from the centre of the kernel (from the last tap of a causal
    one). :meth:`after_step` keeps them inside. At another ``kernel_size`` than the
    trained one, positions and widths are those of the same signal at another sampling
    rate; the sum of the kernel stays.

    The original names positions from the last axis to the first for all versions but
    ``v0``; :func:`smpconv_mm.convert.dcls.convert_layer` reorders them. Its version
    ``max`` starts at width 0, where its magnitude has no gradient, so that widths are
    never learned; here they start at 0.1.

    Args:
        in_channels (int): Input channels of one group.
        out_channels (int): Output channels.
        kernel_size (int | Sequence[int]): Taps, the "dilated kernel size" of the paper.
        ndim (int): 1, 2 or 3. Defaults to 2.
        n_points (int, optional): Elements of each pair of channels. Defaults to None:
            an eighth of the number of taps (34 of 17x17 in the paper).
        version (str): Defaults to ``'gauss'``.
        position_std (float): Standard deviation of the initial positions, in taps.
            Defaults to 0.5, as published.
        **kwargs: ``causal`` and ``depthwise`` of :class:`Kernel`.

    Attributes:
        weight (Parameter): Shape (out_channels, in_channels, n_points).
        position (Parameter): Shape (ndim, out_channels, in_channels, n_points), axes
            in the order of the taps: rows before columns.
        width (Parameter, optional): Of that shape, for ``max`` and ``gauss``.

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
        n_points: int | None = None,
        version: str = 'gauss',
        position_std: float = 0.5,
        **kwargs,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, ndim, **kwargs)
        if n_points is None:
            n_points = max(1, prod(self.kernel_size) // 8)
        if not isinstance(n_points, int) or n_points < 1:
            raise ValueError(f'n_points must be a positive integer, got {n_points!r}')
        if version not in _VERSIONS:
            raise ValueError(f'version must be one of {_VERSIONS}, got {version!r}')
        if position_std < 0:
            raise ValueError(f'position_std must not be negative, got {position_std}')
        self.version = version
        self.position_std = position_std
        points = out_channels, in_channels, n_points
        self.weight = nn.Parameter(torch.empty(points))
        self.position = nn.Parameter(torch.empty(ndim, *points))
        self.register_parameter('width', None)
        if version in ('max', 'gauss'):
            self.width = nn.Parameter(torch.empty(ndim, *points))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw new weights as ``nn.Conv2d`` does, and positions near the centre."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        nn.init.normal_(self.position, std=self.position_std)
        if self.causal:
            self.position.copy_(-self.position.abs())
        self.after_step()
        if self.width is not None:
            # the whole width of a Gaussian is then 0.5
            nn.init.constant_(self.width, 0.23 if self.version == 'gauss' else 0.1)

    @property
    def n_points(self) -> int:
        """Elements of each pair of channels."""
        return self.weight.shape[-1]

    def _centre(self, taps: int) -> int:
        return taps - 1 if self.causal else taps // 2

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep positions between the first and the last tap, in place."""
        size = self.trained_size
        ranges = [(-self._centre(n), n - 1 - self._centre(n)) for n in size]
        if len(set(ranges)) == 1:  # also a part of the parameter, in sharded training
            self.position.clamp_(*ranges[0])
        else:
            for position, (low, high) in zip(self.position, ranges):
                position.clamp_(low, high)

    def profile(self, axis: int) -> Tensor:
        """Share of each element at each tap along an axis, before normalisation.

        Returns:
            Tensor: Shape (out_channels, in_channels, n_points, taps), float32 at least.
        """
        taps, trained = self.kernel_size[axis], self.trained_size[axis]
        rate = (taps - 1) / (trained - 1) if taps > 1 and trained > 1 else 1.0
        position = _at_least_float32(self.position[axis])[..., None]
        tap = torch.arange(taps, device=position.device).to(position.dtype)
        centre = self._centre(taps) + rate * position
        if self.version == 'v0':
            first = centre.detach().floor()
            rest = centre - first
            return torch.where(tap == first, 1 - rest, 0) + torch.where(
                tap == first + 1, rest, 0
            )
        distance = tap - centre
        width = position.new_zeros(())
        if self.width is not None:
            width = _at_least_float32(self.width[axis])[..., None].abs()
        spread = max(rate, 1.0)  # of more taps; of fewer, a tap is the least
        if self.version == 'gauss':
            sigma = rate * width + spread * _LEAST_SIGMA
            return torch.exp(-0.5 * (distance / sigma) ** 2)
        return (rate * width + spread - distance.abs()).relu() / spread

    def sample(self) -> Tensor:
        """Add up the elements."""
        profiles = [self.profile(axis) for axis in range(self.ndim)]
        weight = _at_least_float32(self.weight)
        if self.version != 'v0':
            total = torch.stack([p.sum(-1) for p in profiles]).prod(0)
            weight = weight / (total + 1e-7)
        # (out, in, taps of all axes but the last, points) @ (out, in, points, taps)
        rows = weight[..., None]
        for profile in profiles[:-1]:
            rows = (rows[..., None] * profile[..., None, :]).flatten(-2)
        kernel = rows.transpose(-1, -2) @ profiles[-1]
        return kernel.view(self.out_channels, self.in_channels, *self.kernel_size)

    def scale(self) -> float:
        """1, as the sum of the kernel does not depend on its size."""
        return 1.0

    def extra_repr(self) -> str:
        """Return the settings that tell kernels apart."""
        return (
            f'{super().extra_repr()}, n_points={self.n_points}, '
            f'version={self.version!r}'
        )


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.itemsize < 4 else tensor


@MODELS.register_module()
class DCLSConv1d(KernelConv1d):
    """1-D convolution with learnable spacings (DCLS, ICLR 2023).

    Arguments as for :class:`KernelConv1d` and :class:`DCLSKernel`: ``n_points``,
    ``version``, ``position_std``. Padding is not automatic; ``padding='same'`` keeps
    the length.

    Input: (N, in_channels, L) or (in_channels, L). Output: the same with
    out_channels and L'.
    """

    kernel_type = 'DCLSKernel'


@MODELS.register_module()
class DCLSConv2d(KernelConv2d):
    """2-D convolution with learnable spacings (DCLS, ICLR 2023).

    Arguments as for :class:`KernelConv2d` and :class:`DCLSKernel`, see
    :class:`DCLSConv1d`. In OpenMMLab networks::

        conv_cfg=dict(type='smpconv_mm.DCLSConv2d', n_points=34)

    Input: (N, in_channels, H, W) or (in_channels, H, W). Output: the same with
    out_channels, H' and W'.
    """

    kernel_type = 'DCLSKernel'


@MODELS.register_module()
class DCLSConv3d(KernelConv3d):
    """3-D convolution with learnable spacings (DCLS, ICLR 2023).

    Arguments as for :class:`KernelConv3d` and :class:`DCLSKernel`, see
    :class:`DCLSConv1d`.

    Input: (N, in_channels, D, H, W) or one without N. Output: the same with
    out_channels, D', H' and W'.
    """

    kernel_type = 'DCLSKernel'
