"""A convolution kernel held as points that move while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, prod

import torch
from torch import Tensor, nn

from smpconv_mm import ops


class SMPKernel(nn.Module):
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
            all axes or one an axis; ``ndim`` axes.
        ndim (int): Spatial dimensions: 1, 2 or 3. Defaults to 2.
        n_points (int, optional): Points per set. Defaults to None, which
            takes ``max(1, prod(kernel_size) // 4)``.
        shared_points (bool): One set of points for all channels instead of
            one an output channel. Defaults to False.
        normalize (bool): Divide by the number of active points at each place.
            Defaults to True.
        radius (float, optional): Initial radius of all points, in units of
            half a kernel side. Defaults to None, which takes four over the
            longest side (two grid steps), at most ``radius_range[1]``.
        radius_range (tuple[float, float]): Bounds that :meth:`clip_points`
            keeps. Defaults to (1e-4, 1.0).
        coord_std (float): Standard deviation of the initial coordinates.
            Defaults to 0.2.
        one_sided (bool): Start the points on one side, densest at +1, which is
            the current sample of a causal convolution. Defaults to False.
        learn_coord (bool): Let the points move; otherwise they stay where they
            started. Defaults to True.
        learn_radius (bool): Let the radii change. Defaults to True.
        clip_coord (bool): Let :meth:`clip_points` keep the points within
            [-1, 1]. Defaults to False, as published.

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

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        ndim: int = 2,
        *,
        n_points: int | None = None,
        shared_points: bool = False,
        normalize: bool = True,
        radius: float | None = None,
        radius_range: tuple[float, float] = (1e-4, 1.0),
        coord_std: float = 0.2,
        one_sided: bool = False,
        learn_coord: bool = True,
        learn_radius: bool = True,
        clip_coord: bool = False,
    ) -> None:
        super().__init__()
        if ndim not in (1, 2, 3):
            raise ValueError(f'ndim must be 1, 2 or 3, got {ndim}')
        size = _to_size(kernel_size, ndim)
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
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.ndim = ndim
        self.shared_points = shared_points
        self.normalize = normalize
        self.initial_radius = radius
        self.radius_range = (low, high)
        self.coord_std = coord_std
        self.one_sided = one_sided
        self.clip_coord = clip_coord
        self.trained_size = size
        self._size = size
        self._cache: tuple | None = None

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
    def kernel_size(self) -> tuple[int, ...]:
        """Taps per axis; assign an int or a tuple to resample the kernel."""
        return self._size

    @kernel_size.setter
    def kernel_size(self, kernel_size: int | Sequence[int]) -> None:
        self._size = _to_size(kernel_size, self.ndim)

    @property
    def n_points(self) -> int:
        """Points per set."""
        return self.coord.shape[1]

    @torch.no_grad()
    def clip_radius(self) -> None:
        """Bring all radii into ``radius_range``, in place."""
        self.radius.clamp_(*self.radius_range)

    @torch.no_grad()
    def first_tap(self) -> int:
        """Index along the last axis before which the kernel is zero everywhere.

        The last index if it is zero altogether, 0 if a point is not finite.
        """
        taps = self._size[-1]
        reach = float((self.coord[..., 0] - self.radius).min())
        if not isfinite(reach):
            return 0
        # a place to spare for rounding
        return min(max(int((reach + 1) * (taps - 1) / 2) - 1, 0), taps - 1)

    @torch.no_grad()
    def clip_points(self) -> None:
        """Clip radii, and with ``clip_coord`` positions, in place.

        To be called after every optimiser step.
        """
        self.clip_radius()
        if self.clip_coord:
            self.coord.clamp_(-1, 1)

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
        _resize(self.coord, self.coord.gather(1, axes))
        _resize(self.radius, self.radius.gather(1, index))
        _resize(self.weight, self.weight.gather(2, slices))

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
        points = found.get('coord', (0, 0))[1:2]
        groups, slices, _ = self.weight.shape
        other = {
            'coord': torch.Size((groups, *points, self.ndim)),
            'radius': torch.Size((groups, *points)),
            'weight': torch.Size((groups, slices, *points)),
        }
        return other if found == other and 0 not in points else own

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        for name, shape in self.shapes_for(state_dict, prefix).items():
            parameter = getattr(self, name)
            if parameter.shape != shape:
                _resize(parameter, parameter.detach().new_empty(shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def make_kernel(self) -> Tensor:
        """Sample the kernel.

        Returns:
            Tensor: Shape ``(out_channels, in_channels, *kernel_size)``, in the
            parameters' dtype.
        """
        kernel = ops.smp_kernel(
            self.coord, self.radius, self.weight, self._size, normalize=self.normalize
        )
        if self._size != self.trained_size:
            kernel = kernel * (prod(self.trained_size) / prod(self._size))
        return kernel.view(self.out_channels, self.in_channels, *self._size)

    def forward(self) -> Tensor:
        """Return the kernel of :meth:`make_kernel`.

        In eval mode without gradients it is made once and kept until a
        parameter changes or :meth:`train` or ``eval`` is called.
        """
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.make_kernel()
        key = (self._size, *map(_fingerprint, self.parameters()))
        if self._cache is None or self._cache[0] != key:
            self._cache = (key, self.make_kernel())
        return self._cache[1]

    def train(self, mode: bool = True) -> SMPKernel:
        """Set the mode and forget the kept kernel."""
        # Writing through ``.data``, as MMEngine's EMA hook does, leaves no
        # trace that the cache could see; every such writer is followed by
        # train() or eval().
        self._cache = None
        return super().train(mode)

    def __getstate__(self) -> dict:
        return {**super().__getstate__(), '_cache': None}

    def extra_repr(self) -> str:
        """Return the settings that tell kernels apart."""
        return (
            f'{self.in_channels}, {self.out_channels}, kernel_size={self._size}, '
            f'n_points={self.n_points}, shared_points={self.shared_points}, '
            f'normalize={self.normalize}'
            + ', learn_coord=False' * (not self.coord.requires_grad)
            + ', learn_radius=False' * (not self.radius.requires_grad)
            + ', clip_coord=True' * self.clip_coord
        )


def _to_size(kernel_size: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    size = (kernel_size,) * ndim if isinstance(kernel_size, int) else tuple(kernel_size)
    if len(size) != ndim or not all(isinstance(n, int) and n > 0 for n in size):
        raise ValueError(
            f'kernel_size must be a positive integer or {ndim} of them, got '
            f'{kernel_size!r}'
        )
    return size


def _resize(parameter: nn.Parameter, value: Tensor) -> None:
    """Give a parameter a value of another shape; it stays the same object."""
    parameter.data = value
    parameter.grad = None


def _fingerprint(parameter: Tensor) -> tuple:
    """Change when the tensor is written in place, replaced, cast or moved."""
    version = None if parameter.is_inference() else parameter._version
    return parameter.data_ptr(), version, parameter.dtype, parameter.device
