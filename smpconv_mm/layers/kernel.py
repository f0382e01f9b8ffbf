"""What every maker of a convolution kernel shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import torch
from torch import Tensor, nn

from smpconv_mm.ops.checks import autocast_dtype
from smpconv_mm.registry import MODELS


class Kernel(nn.Module):
    """A dense convolution kernel that is made from parameters.

    A subclass has its parameters and :meth:`sample`, which makes the kernel from
    them; if it needs to, also :meth:`after_step`. What convolves is
    :class:`~smpconv_mm.layers.KernelConv2d` and its relatives.

    Args:
        in_channels (int): Input channels of one group of the convolution.
        out_channels (int): Output channels.
        kernel_size (int | Sequence[int]): Taps, one number for all axes or one
            an axis.
        ndim (int): Spatial axes: 1, 2 or 3. Defaults to 2.
        causal (bool): The last tap is the current sample, earlier taps are
            earlier samples. Defaults to False: the kernel lies around it.
        depthwise (bool): The convolution has one channel a group, in and out.
            Defaults to False.

    Attributes:
        trained_size (tuple[int, ...]): Taps per axis that the parameters were
            made for. It is part of the state dict; one without it, of an
            earlier version, leaves it as it is.

    Raises:
        ValueError: If an argument is outside its range.
    """

    remade_in_backward = False
    """Let a large kernel be made a second time in the backward pass, so that it
    need not be kept. For kernels that are cheap to make, and the same each time."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        ndim: int = 2,
        *,
        causal: bool = False,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        if ndim not in (1, 2, 3):
            raise ValueError(f'ndim must be 1, 2 or 3, got {ndim}')
        if min(in_channels, out_channels) < 1:
            raise ValueError(
                f'in_channels and out_channels must be positive, got {in_channels} '
                f'and {out_channels}'
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.ndim = ndim
        self.causal = causal
        self.depthwise = depthwise
        self._size = self._trained = to_size(kernel_size, ndim)
        # for the state dict; a tensor on a GPU would have to be waited for
        self.register_buffer('_trained_size', torch.tensor(self._trained))

    def sample(self) -> Tensor:
        """Make the kernel for ``kernel_size``.

        Returns:
            Tensor: Shape ``(out_channels, in_channels, *taps)``, computed in
            float32 or better (autocast is off). ``taps`` may be fewer than
            ``kernel_size``: what is left out at the sides, or before the
            earliest tap of a causal kernel, is taken for zero.
        """
        raise NotImplementedError(f'{type(self).__name__} must define sample()')

    def after_step(self) -> None:
        """Called after each optimiser step, e.g. to clip parameters in place.

        Sharded training may give it a part of each parameter.
        """

    def scale(self) -> float:
        """Factor of the kernel at another size than the trained one.

        A kernel of more taps would give larger responses. The default keeps
        their magnitude: the ratio of the numbers of taps.
        """
        return prod(self.trained_size) / prod(self.kernel_size)

    def first_tap(self) -> int:
        """Index along the last axis before which all taps are known to be zero.

        A causal convolution leaves them out. Must be quick to find.
        """
        return 0

    def make_kernel(self) -> Tensor:
        """Return :meth:`sample`, times :meth:`scale` if resampled."""
        if autocast_dtype(self._trained_size) is None:
            kernel = self.sample()
        else:
            with torch.autocast(self._trained_size.device.type, enabled=False):
                kernel = self.sample()
        if kernel.dim() != self.ndim + 2 or kernel.shape[:2] != (
            self.out_channels,
            self.in_channels,
        ):
            raise ValueError(
                f'{type(self).__name__}.sample() must return shape '
                f'({self.out_channels}, {self.in_channels}, *taps) with {self.ndim} '
                f'numbers of taps, got {tuple(kernel.shape)}'
            )
        if self.kernel_size != self.trained_size:
            kernel = kernel * self.scale()
        return kernel

    def forward(self) -> Tensor:
        """Return :meth:`make_kernel`."""
        return self.make_kernel()

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Taps per axis; assign an int or a tuple to resample the kernel."""
        return self._size

    @kernel_size.setter
    def kernel_size(self, kernel_size: int | Sequence[int]) -> None:
        self._size = to_size(kernel_size, self.ndim)

    @property
    def trained_size(self) -> tuple[int, ...]:
        """Taps per axis that the parameters were made for."""
        return self._trained

    def shapes_for(
        self, state_dict: Mapping[str, Tensor], prefix: str = ''
    ) -> dict[str, torch.Size]:
        """Shapes of parameters that are taken over from a state dict.

        Subclasses whose parameters may have several shapes (such as a number of
        points) name them here; by default there are none.
        """
        return {}

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        take_shapes(self, self.shapes_for(state_dict, prefix))
        key = prefix + '_trained_size'
        size = state_dict.setdefault(key, self._trained_size)
        if size.shape == (self.ndim,) and not size.is_meta:
            self._trained = to_size(size.tolist(), self.ndim)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Return the sizes."""
        text = f'{self.in_channels}, {self.out_channels}, kernel_size={self._size}'
        if self._size != self._trained:
            text += f', trained_size={self._trained}'
        return text


def build_kernel(cfg: dict, **kwargs) -> Kernel:
    """Build a registered kernel; a type without a scope is one of this package.

    Raises:
        KeyError: If there is no such kernel.
        TypeError: If ``cfg`` has no type or the type is not a kernel.
    """
    cfg = dict(cfg, **kwargs)
    kind = cfg.get('type')
    if isinstance(kind, str) and '.' not in kind:
        # whatever the default scope is
        cfg['type'] = f'smpconv_mm.{kind}'
    kernel = MODELS.build(cfg)
    if not isinstance(kernel, Kernel):
        raise TypeError(f'{kind} is not a kernel (smpconv_mm.layers.Kernel)')
    return kernel


def to_size(kernel_size: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """Taps per axis.

    Raises:
        ValueError: If they are not ``ndim`` positive integers.
    """
    size = (kernel_size,) * ndim if isinstance(kernel_size, int) else tuple(kernel_size)
    if len(size) != ndim or not all(isinstance(n, int) and n > 0 for n in size):
        raise ValueError(
            f'kernel_size must be a positive integer or {ndim} of them, got '
            f'{kernel_size!r}'
        )
    return size


def reach(taps: int, causal: bool = False, dilation: int = 1) -> tuple[int, int]:
    """Samples before and after the current one that a kernel covers.

    They are the zeros on both sides that keep the length of a signal; of an odd
    number the larger half is after, as in torch's ``padding='same'``.
    """
    total = dilation * (taps - 1)
    before = total if causal else total // 2
    return before, total - before


@torch.no_grad()
def take_shapes(module: nn.Module, shapes: Mapping[str, torch.Size]) -> None:
    """Give parameters other shapes; they stay the same objects."""
    for name, shape in shapes.items():
        parameter = getattr(module, name)
        if parameter.shape != shape:
            set_value(parameter, parameter.new_empty(shape))


def set_value(parameter: nn.Parameter, value: Tensor) -> None:
    """Give a parameter a value of another shape; it stays the same object."""
    parameter.data = value.detach()
    parameter.grad = None


def is_whole(tensor: Tensor) -> bool:
    """Whether a tensor's storage has all its numbers.

    A small file can hold a huge tensor by repeating one number; its shape is
    not to be taken over.
    """
    return tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()
