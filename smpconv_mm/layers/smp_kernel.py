"""A convolution kernel held as points that move while training, and its layers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from math import isfinite, prod

import torch
from torch import Tensor, nn

from smpconv_mm import ops
from smpconv_mm.registry import MODELS

from .kernel import Kernel, is_whole, set_value
from .kernel_conv import KernelConv1d, KernelConv2d, KernelConv3d

# Below it a hat reaches no second place of any grid; 0 would divide by zero
_SMALLEST_RADIUS = 1e-6


@MODELS.register_module()
class SMPKernel(Kernel):
    """Self-moving point kernel (SMPConv, CVPR 2023, section 3).

    The kernel is a function on [-1, 1]^d, the sum of hats around points (see
    :func:`smpconv_mm.ops.smp_kernel` for formula and orientation), sampled on
    a grid of ``kernel_size`` places. The two published variants are settings:

    ======================  ===================  ===========================
    setting                 ImageNet, depthwise  sequences and CIFAR, dense
    ======================  ===================  ===========================
    ``shared_points``       True                 False
    ``normalize``           False                True
    ``radius_range``        (1e-3, 1)            (1e-4, 1)
    ======================  ===================  ===========================

    Because the points live in a continuum, ``kernel_size`` may be assigned
    after training. The kernel then covers the same field with more or fewer
    taps, scaled by ``prod(trained size / new size)`` so that responses keep
    their magnitude.

    A state dict with another number of points, such as that of a pruned model
    (:func:`smpconv_mm.layers.prune_points`), is loaded as it is: the kernel
    takes over its number of points.

    Args:
        in_channels (int): Kernel slices per output channel (the input
            channels of one group).
        out_channels (int): Output channels.
        kernel_size (int | Sequence[int]): Side of the kernel, one number for
            all axes or one per axis; ``ndim`` axes.
        ndim (int): Spatial dimensions: 1, 2 or 3. Defaults to 2.
        n_points (int, optional): Points per set. Defaults to None, which
            takes ``max(1, prod(kernel_size) // 4)``.
        shared_points (bool, optional): One set of points for all channels
            instead of one per output channel. Defaults to None: True for a
            depthwise convolution, as in the published ImageNet models, else
            False.
        normalize (bool, optional): Divide by the number of active points at each
            place. Defaults to None: the opposite of ``shared_points``, as
            published.
        radius (float, optional): Initial radius of all points, in units of
            half a kernel side. Defaults to None, which takes four over the
            longest side (two grid steps), at most ``radius_range[1]``.
        radius_range (tuple[float, float]): Bounds that :meth:`after_step`
            keeps. Defaults to (1e-4, 1.0).
        coord_std (float): Standard deviation of the initial coordinates.
            Defaults to 0.2.
        one_sided (bool, optional): Start the points on one side, densest at +1,
            which is the current sample of a causal convolution. Defaults to
            None: True for a causal convolution.
        learn_coord (bool): Let the points move; otherwise they stay where they
            started. Defaults to True.
        learn_radius (bool): Let the radii change. Defaults to True.
        clip_coord (bool): Let :meth:`after_step` keep the points within
            [-1, 1]. Defaults to False, as published.
        **kwargs: ``causal`` and ``depthwise`` of :class:`Kernel`.

    Attributes:
        coord (Parameter): Positions, shape (G, P, d), G = 1 if shared else
            ``out_channels``. Free to leave [-1, 1] without ``clip_coord``;
            takes no gradient without ``learn_coord``.
        radius (Parameter): Shape (G, P); takes no gradient without
            ``learn_radius``.
        weight (Parameter): Shape (G, I, P), G * I = in_channels *
            out_channels.

    Raises:
        ValueError: If an argument is outside its range.
    """

    remade_in_backward = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        ndim: int = 2,
        *,
        n_points: int | None = None,
        shared_points: bool | None = None,
        normalize: bool | None = None,
        radius: float | None = None,
        radius_range: tuple[float, float] = (1e-4, 1.0),
        coord_std: float = 0.2,
        one_sided: bool | None = None,
        learn_coord: bool = True,
        learn_radius: bool = True,
        clip_coord: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, ndim, **kwargs)
        size = self.trained_size
        if n_points is None:
            n_points = max(1, prod(size) // 4)
        if not isinstance(n_points, int) or n_points < 1:
            raise ValueError(
                f'n_points must be a positive integer, got {n_points!r}; leave it '
                'out to have a quarter of the number of taps'
            )
        low, high = radius_range
        if not 0 < low <= high:
            raise ValueError(
                f'radius_range must be (low, high) with 0 < low <= high, got '
                f'{radius_range}'
            )
        if radius is None:
            radius = min(max(4 / max(size), low), high)
        if not low <= radius <= high:
            raise ValueError(
                f'radius must lie in radius_range = {tuple(radius_range)}, got {radius}'
            )
        if coord_std <= 0:
            raise ValueError(f'coord_std must be positive, got {coord_std}')
        if shared_points is None:
            shared_points = self.depthwise
        self.shared_points = shared_points
        self.normalize = not shared_points if normalize is None else normalize
        self.initial_radius = radius
        self.radius_range = (low, high)
        self.coord_std = coord_std
        self.one_sided = self.causal if one_sided is None else one_sided
        self.clip_coord = clip_coord
        self._steps = 0
        self._warned = False

        groups = 1 if shared_points else out_channels
        slices = in_channels * out_channels // groups
        self.coord = nn.Parameter(torch.empty(groups, n_points, ndim), learn_coord)
        self.radius = nn.Parameter(torch.empty(groups, n_points), learn_radius)
        self.weight = nn.Parameter(torch.empty(groups, slices, n_points))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw new points as published (truncated normal distributions)."""
        if self.one_sided:
            nn.init.trunc_normal_(self.coord, std=self.coord_std, a=-1.0, b=0.0)
            self.coord.mul_(2).add_(1)
        else:
            nn.init.trunc_normal_(self.coord, std=self.coord_std, a=-1.0, b=1.0)
        nn.init.constant_(self.radius, self.initial_radius)
        nn.init.trunc_normal_(self.weight, std=0.02)

    @property
    def n_points(self) -> int:
        """Points per set."""
        return self.coord.shape[1]

    @property
    def positive_radius(self) -> Tensor:
        """The radii as :meth:`sample` takes them, none below 1e-6."""
        return self.radius.clamp(min=_SMALLEST_RADIUS)

    @torch.no_grad()
    def after_step(self) -> None:
        """Clip radii, and with ``clip_coord`` positions, in place."""
        self.radius.clamp_(*self.radius_range)
        if self.clip_coord:
            self.coord.clamp_(-1, 1)

    @torch.no_grad()
    def first_tap(self) -> int:
        """Index along the last axis before which no point reaches.

        The last index if the kernel is zero altogether, 0 if a point is not
        finite.
        """
        if type(self.coord) is not nn.Parameter:  # e.g. many at a time (vmap)
            return 0
        taps = self.kernel_size[-1]
        reach = float((self.coord[..., 0] - self.positive_radius).min())
        if not isfinite(reach):
            return 0
        # a place to spare for rounding
        return min(max(int((reach + 1) * (taps - 1) / 2) - 1, 0), taps - 1)

    @torch.no_grad()
    def keep_points(self, index: Tensor) -> None:
        """Drop all points but some.

        The parameters stay the same objects, so that an optimiser made before
        still holds them.

        Args:
            index (Tensor): Which points of each set to keep, int64 of shape
                (G, new number of points).
        """
        axes = index[..., None].expand(-1, -1, self.ndim)
        slices = index[:, None].expand(-1, self.weight.shape[1], -1)
        set_value(self.coord, self.coord.gather(1, axes))
        set_value(self.radius, self.radius.gather(1, index))
        set_value(self.weight, self.weight.gather(2, slices))

    def shapes_for(
        self, state_dict: Mapping[str, Tensor], prefix: str = ''
    ) -> dict[str, torch.Size]:
        """Return the shapes of parameters that a state dict may have.

        They are the kernel's own, or with the number of points of the state
        dict if its three entries agree in it.
        """
        own = {name: p.shape for name, p in self.named_parameters()}
        found = {
            name: state_dict[prefix + name].shape
            for name in own
            if prefix + name in state_dict
        }
        whole = all(is_whole(state_dict[prefix + name]) for name in found)
        points = found.get('coord', (0, 0))[1:2]
        groups, slices, _ = self.weight.shape
        other = {
            'coord': torch.Size((groups, *points, self.ndim)),
            'radius': torch.Size((groups, *points)),
            'weight': torch.Size((groups, slices, *points)),
        }
        return other if whole and found == other and 0 not in points else own

    def sample(self) -> Tensor:
        """Sample the points on the grid of ``kernel_size`` places."""
        if self.training and torch.is_grad_enabled():
            self._warn_if_not_clipped()
        kernel = ops.smp_kernel(
            self.coord,
            self.positive_radius,
            self.weight,
            self.kernel_size,
            normalize=self.normalize,
        )
        return kernel.view(self.out_channels, self.in_channels, *self.kernel_size)

    def _warn_if_not_clipped(self) -> None:
        """Say once that training has moved radii out of their range."""
        if self._warned or torch.compiler.is_compiling():
            return
        if type(self.radius) is not nn.Parameter or not self.radius.requires_grad:
            return
        self._steps += 1
        if self.radius.is_cuda and self._steps % 100:
            return  # the GPU would have to be waited for
        low, high = self.radius_range
        radius = self.radius.detach()
        # bounds rounded to the parameter's precision
        outside = (radius < low * 0.99) | (radius > high * 1.01)
        if not radius.is_meta and bool(outside.any()):
            self._warned = True
            warnings.warn(
                f'radii of an SMPKernel have left radius_range={self.radius_range} in '
                'training; call after_step() of each kernel after each optimiser '
                'step, as the hook smpconv_mm.AfterStepHook does',
                stacklevel=2,
            )

    def extra_repr(self) -> str:
        """Return the settings that tell kernels apart."""
        return (
            f'{super().extra_repr()}, n_points={self.n_points}, '
            f'shared_points={self.shared_points}, normalize={self.normalize}'
            + ', learn_coord=False' * (not self.coord.requires_grad)
            + ', learn_radius=False' * (not self.radius.requires_grad)
            + ', clip_coord=True' * self.clip_coord
        )


@MODELS.register_module()
class SMPConv1d(KernelConv1d):
    """1-D convolution with self-moving points (SMPConv, CVPR 2023).

    Arguments as for :class:`KernelConv1d` and :class:`SMPKernel`.

    Input: (N, in_channels, L) or (in_channels, L). Output: the same with
    out_channels and L'.
    """


@MODELS.register_module()
class SMPConv2d(KernelConv2d):
    """2-D convolution with self-moving points (SMPConv, CVPR 2023).

    Takes the place of ``nn.Conv2d``, and in any OpenMMLab network of the layer
    named in ``conv_cfg``::

        conv_cfg=dict(type='smpconv_mm.SMPConv2d', n_points=16)

    Arguments are those of :class:`KernelConv2d`, then those of
    :class:`SMPKernel`: ``n_points``, ``shared_points``, ``normalize``,
    ``radius``, ``radius_range``, ``coord_std``, ``learn_coord``,
    ``learn_radius``, ``clip_coord``.

    Input: (N, in_channels, H, W) or (in_channels, H, W). Output: the same with
    out_channels, H' and W'.
    """


@MODELS.register_module()
class SMPConv3d(KernelConv3d):
    """3-D convolution with self-moving points (SMPConv, CVPR 2023).

    Arguments as for :class:`KernelConv3d` and :class:`SMPKernel`.

    Input: (N, in_channels, D, H, W) or one without N. Output: the same with
    out_channels, D', H' and W'.
    """
