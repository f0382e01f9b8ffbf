"""Kernels made by small networks, of the whole size or of a learned one.

CKConv: Romero et al., "CKConv: Continuous Kernel Convolution for Sequential Data".
FlexConv: Romero et al., "FlexConv: Continuous Kernel Convolutions with Differentiable
Kernel Sizes". Both ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, prod, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from smpconv_mm import ops
from smpconv_mm.ops.dispatch import transforming
from smpconv_mm.registry import MODELS

from .kernel import Kernel
from .kernel_conv import KernelConv1d, KernelConv2d, KernelConv3d
from .kernel_nets import KernelNet


@MODELS.register_module()
class CKKernel(Kernel):
    """A kernel that a network makes from the positions of its taps.

    Positions are ``linspace(-1, 1, taps)`` along each axis, whatever
    ``kernel_size`` is. At another one than the trained, values are multiplied by the
    ratio of the distances between neighbours, so that the sum over taps keeps its
    magnitude. A single tap is at 0, or at 1 (now) of a causal kernel.

    Args:
        in_channels (int): Input channels of one group.
        out_channels (int): Output channels.
        kernel_size (int | Sequence[int]): Taps; the horizon.
        ndim (int): Defaults to 2.
        kernel_net (dict, optional): Type and arguments of a registered
            :class:`~.kernel_nets.KernelNet`. Defaults to None:
            :class:`~.filter_nets.MAGNet`, with its defaults.
        kernel_scale (float): Factor of all values. Defaults to 1.
        dropout (float): Rate of dropout of the taps in training. Defaults to 0.
        **kwargs: ``causal`` and ``depthwise`` of :class:`Kernel`.

    Attributes:
        net (KernelNet): Gives ``out_channels * in_channels`` values at a position.

    Raises:
        ValueError: If an argument is outside its range.
        TypeError: If ``kernel_net`` is not of a network of positions.
    """

    _grid_dtype = torch.float32  # as in the original program

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        ndim: int = 2,
        *,
        kernel_net: dict | None = None,
        kernel_scale: float = 1.0,
        dropout: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, ndim, **kwargs)
        if not 0 <= dropout < 1:
            raise ValueError(f'dropout must lie in [0, 1), got {dropout}')
        self.kernel_scale = kernel_scale
        self.dropout = dropout
        self.net = build_kernel_net(
            kernel_net or {}, in_channels=ndim, out_channels=out_channels * in_channels
        )

    def axes(self) -> list[Tensor]:
        """Positions of the taps along each axis, on the CPU."""
        dtype = self._grid_dtype
        middle = torch.tensor([1.0 if self.causal else 0.0], dtype=dtype)
        return [
            torch.linspace(-1, 1, n, dtype=dtype) if n > 1 else middle
            for n in self.kernel_size
        ]

    def window(self, axes: Sequence[Tensor]) -> Tensor | None:
        """What multiplies the values at positions: a grid, or None for 1."""
        return None

    def sample(self) -> Tensor:
        """Let the network make the kernel."""
        state = dict(self.net.named_parameters())
        like = next(iter(state.values()))
        dtype = like.dtype if like.itemsize >= 4 else torch.float32
        axes = [axis.to(like.device, dtype) for axis in self.axes()]
        positions = torch.stack(torch.meshgrid(*axes, indexing='ij'))[None]
        window = self.window(axes)
        if self.kernel_scale != 1:
            if window is None:
                window = positions.new_ones(positions.shape[2:])
            window = window * self.kernel_scale
        if dtype == like.dtype:
            values = self.net(positions, window)
        else:
            state.update(self.net.named_buffers())
            wide = {k: v.to(dtype) if v.is_floating_point() else v
                    for k, v in state.items()}  # fmt: skip
            values = functional_call(self.net, wide, (positions, window))
        kernel = values.view(self.out_channels, self.in_channels, *values.shape[2:])
        return F.dropout(kernel, self.dropout, self.training)

    def scale(self) -> float:
        """Ratio of the distances between taps, on all axes together."""
        steps = [
            (t - 1) / (k - 1) if min(t, k) > 1 else t / k
            for t, k in zip(self.trained_size, self.kernel_size)
        ]
        return prod(steps)


@MODELS.register_module()
class FlexKernel(CKKernel):
    """A kernel made by a network, under a Gaussian whose width is learned.

    The kernel is cropped to where the Gaussian exceeds ``crop_threshold``: on both
    sides alike, so that an odd number of taps stays odd, or before the earliest tap
    that is kept of a causal kernel. One tap at least is kept (two of an even number
    in the middle); while it is the only one, at the mean, the width has no gradient, so
    start with a ``mask_init`` that keeps more. A Gaussian whose mean has left the
    kernel crops nothing, but one in the future of a causal kernel leaves one tap.

    Args:
        *args: Of :class:`CKKernel`, also by name. ``mu_range`` of a ``kernel_net``
            of Gabor filters defaults to ``1.667 * mask_init``, at most 1.
        mask_init (float): Initial standard deviation of the Gaussian, in units of
            half a kernel. Defaults to 0.075.
        crop (bool): Defaults to True.
        crop_threshold (float): In (0, 1). Defaults to 0.1.
        **kwargs: Of :class:`CKKernel`.

    Attributes:
        mask_params (Parameter): Mean and standard deviation along each axis,
            (ndim, 2). The sign of the latter makes no difference, and magnitudes
            below 1e-4 act as 1e-4.

    Raises:
        ValueError: If an argument is outside its range.
    """

    def __init__(
        self,
        *args,
        kernel_net: dict | None = None,
        mask_init: float = 0.075,
        crop: bool = True,
        crop_threshold: float = 0.1,
        **kwargs,
    ) -> None:
        if not 0 < mask_init < float('inf'):
            raise ValueError(f'mask_init must be positive, got {mask_init}')
        if not 0 < crop_threshold < 1:
            raise ValueError(f'crop_threshold must lie in (0, 1), got {crop_threshold}')
        net = {'type': 'MAGNet', **(kernel_net or {})}
        if str(net['type']).rpartition('.')[2] in ('MAGNet', 'GaborNet'):
            net.setdefault('mu_range', min(1.667 * mask_init, 1.0))
        super().__init__(*args, kernel_net=net, **kwargs)
        self.crop = crop
        self.crop_threshold = crop_threshold
        self._start_mask(1.0 if self.causal else 0.0, mask_init)

    def _start_mask(self, mean: float, sigma: float) -> None:
        self.mask_params = nn.Parameter(torch.tensor([[mean, sigma]] * self.ndim))

    @property
    def _widths(self) -> float:
        """Standard deviations from the mean to where the Gaussian is cropped."""
        return sqrt(-2 * log(self.crop_threshold))

    @torch.no_grad()
    def kept_taps(self) -> list[tuple[int, int]]:
        """First tap that is kept, and one past the last, along each axis."""
        if not self.crop:
            return [(0, n) for n in self.kernel_size]
        kept = []
        params = self.mask_params.detach().float().cpu()
        for axis, (mean, sigma) in zip(super().axes(), params):
            taps = len(axis)
            half_width = sigma.abs() * self._widths
            if self.causal:
                before = axis <= mean - half_width
                kept.append((min(int(before.sum()), taps - 1), taps))
            else:
                before = axis <= -(mean.abs() + half_width)
                first = min(int(before.sum()), (taps - 1) // 2)
                kept.append((first, taps - first))
        return kept

    def axes(self) -> list[Tensor]:
        """Positions of the taps that are kept; of all where a graph is traced."""
        axes = super().axes()
        if self._traced():
            return axes
        return [axis[first:end] for axis, (first, end) in zip(axes, self.kept_taps())]

    def window(self, axes: Sequence[Tensor]) -> Tensor:
        """The Gaussian at positions of a grid."""
        params = self.mask_params.to(axes[0].dtype)
        lines = []
        for axis, (mean, sigma) in zip(axes, params):
            variance = self._variance(sigma)
            line = torch.exp((axis - mean).square() / (-2 * variance))
            if self.crop and self._traced():
                line = line * self._inside(axis, mean.detach(), sigma.detach())
            lines.append(line)
        window = lines[0]
        for line in lines[1:]:
            window = window[..., None] * line
        return window

    def _variance(self, sigma: Tensor) -> Tensor:
        return (sigma * sigma).clamp(min=_LEAST_SIGMA**2)

    def _inside(self, axis: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
        """1 at taps that are kept, 0 elsewhere: a crop without a change of shape."""
        half_width = sigma.abs() * self._widths
        if self.causal:
            inside = (axis > mean - half_width) | (axis == axis[-1])
        else:
            middle = axis.abs() <= 1.001 * axis[(len(axis) - 1) // 2].abs()
            inside = (axis.abs() < mean.abs() + half_width) | middle
        return inside.to(axis.dtype)

    def _traced(self) -> bool:
        """Whether values of parameters must not decide on shapes."""
        return (
            torch.compiler.is_compiling()
            or transforming()
            or any(type(p) is not nn.Parameter for p in self._parameters.values())
        )

    def extra_repr(self) -> str:
        """Return the settings that tell kernels apart."""
        text = super().extra_repr()
        if self.crop:
            return f'{text}, crop_threshold={self.crop_threshold}'
        return f'{text}, crop=False'


_LEAST_SIGMA = 1e-4


def build_kernel_net(cfg: dict, **kwargs) -> KernelNet:
    """Build a registered network of positions, by default a ``MAGNet``.

    A type without a scope is one of this package.

    Raises:
        KeyError: If there is no such network.
        TypeError: If the type is another module.
    """
    cfg = {'type': 'MAGNet', **cfg, **kwargs}
    kind = cfg['type']
    if isinstance(kind, str) and '.' not in kind:
        cfg['type'] = f'smpconv_mm.{kind}'
    net = MODELS.build(cfg)
    if not isinstance(net, KernelNet):
        raise TypeError(
            f'{kind} is not a network of positions (smpconv_mm.layers.KernelNet)'
        )
    return net


class _NetConv:
    """A setting of the layers below: the rule of the originals for transforms."""

    def __init__(self, *args, fft_above: int | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.fft_above = fft_above

    def convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve with a kernel that was made, of any number of taps."""
        if self.fft_above is None:
            return super().convolve(input, weight, bias)
        backend = 'fft' if min(weight.shape[2:]) > self.fft_above else 'direct'
        operation = 'causal_conv1d' if self.ndim == 1 else 'conv2d'
        with ops.use_backend(operation, backend):
            return super().convolve(input, weight, bias)


@MODELS.register_module()
class CKConv1d(_NetConv, KernelConv1d):
    """1-D convolution with a kernel made by a network.

    Arguments as for :class:`CKConv2d`; published networks have ``causal=True``.

    Input: (N, in_channels, L) or (in_channels, L). Output: the same with
    out_channels and L'.
    """

    kernel_type = 'CKKernel'


@MODELS.register_module()
class CKConv2d(_NetConv, KernelConv2d):
    """2-D convolution with a kernel made by a network (CKConv, ICLR 2022).

    Arguments are those of :class:`KernelConv2d`, those of :class:`CKKernel`
    (``kernel_net``, ``kernel_scale``, ``dropout``), and:

    Args:
        fft_above (int, optional): Take a Fourier transform if and only if all sides
            of the kernel, after cropping, are above it (the originals: 50), in a
            dense or grouped 2-D layer or a causal one. Defaults to None: whatever is
            faster.

    Input: (N, in_channels, H, W) or (in_channels, H, W). Output: the same with
    out_channels, H' and W'.
    """

    kernel_type = 'CKKernel'


@MODELS.register_module()
class CKConv3d(KernelConv3d):
    """3-D convolution with a kernel made by a network.

    Arguments as for :class:`KernelConv3d` and :class:`CKKernel`.

    Input: (N, in_channels, D, H, W) or one without N. Output: the same with
    out_channels, D', H' and W'.
    """

    kernel_type = 'CKKernel'


@MODELS.register_module()
class FlexConv1d(CKConv1d):
    """1-D convolution with a kernel made by a network, of a learned size.

    Arguments as for :class:`FlexConv2d`; published networks have ``causal=True``.

    Input: (N, in_channels, L) or (in_channels, L). Output: the same with
    out_channels and L'.
    """

    kernel_type = 'FlexKernel'


@MODELS.register_module()
class FlexConv2d(CKConv2d):
    """2-D convolution with a kernel of learned size (FlexConv, ICLR 2022).

    Arguments are those of :class:`CKConv2d`, and of :class:`FlexKernel`:
    ``mask_init``, ``crop``, ``crop_threshold``. ``kernel_size`` is the largest size;
    outputs do not depend on how much of it is cropped but by the taps that are left.

    Input: (N, in_channels, H, W) or (in_channels, H, W). Output: the same with
    out_channels, H' and W'.
    """

    kernel_type = 'FlexKernel'


@MODELS.register_module()
class FlexConv3d(CKConv3d):
    """3-D convolution with a kernel made by a network, of a learned size.

    Arguments as for :class:`KernelConv3d` and :class:`FlexKernel`.

    Input: (N, in_channels, D, H, W) or one without N. Output: the same with
    out_channels, D', H' and W'.
    """

    kernel_type = 'FlexKernel'
