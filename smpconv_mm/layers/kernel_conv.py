"""Convolutions whose kernels are made by a :class:`~smpconv_mm.layers.Kernel`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smpconv_mm import ops
from smpconv_mm.ops.checks import autocast_dtype
from smpconv_mm.ops.dispatch import watched
from smpconv_mm.registry import MODELS

from .kernel import build_kernel, is_whole, reach, take_shapes, to_size
from .remaking import remade
from .resampling import resampled_taps

# A kernel as large as the map is convolved by its spectrum
_CONV = {1: F.conv1d, 2: ops.conv2d, 3: F.conv3d}


class KernelConv(nn.Module):
    """What :class:`KernelConv1d`, :class:`KernelConv2d`, :class:`KernelConv3d` share.

    A subclass for one kind of kernel names it in ``kernel_type``; all arguments
    of the kernel are then arguments of the layer.
    """

    ndim: int
    kernel_type = 'SMPKernel'
    transposed = False  # read by mmcv's ConvModule
    output_padding = 0

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = 'zeros',
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        kernel: dict | None = None,
        causal: bool = False,
        deploy: bool = False,
        **kernel_args,
    ) -> None:
        super().__init__()
        if in_channels < 1 or out_channels < 1 or groups < 1:
            raise ValueError(
                'in_channels, out_channels and groups must be positive, got '
                f'{in_channels}, {out_channels} and {groups}'
            )
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f'groups must divide in_channels and out_channels, got groups={groups} '
                f'with {in_channels} and {out_channels} channels'
            )
        if padding_mode not in ('zeros', 'reflect', 'replicate', 'circular'):
            raise ValueError(
                "padding_mode must be 'zeros', 'reflect', 'replicate' or 'circular', "
                f'got {padding_mode!r}'
            )
        if causal and self.ndim != 1:
            raise ValueError(
                f'causal=True is for sequences (KernelConv1d); {type(self).__name__} '
                f'has {self.ndim} axes and no order in time'
            )
        if causal and padding not in (0, 'same'):
            raise ValueError(
                'a causal convolution pads by itself, on the left; leave padding '
                f'out, got {padding!r}'
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.groups = groups
        self.causal = causal
        self.padding_mode = padding_mode
        self.stride = self._per_axis('stride', stride, 1)
        self.dilation = self._per_axis('dilation', dilation, 1)
        self._depthwise = groups == in_channels == out_channels
        with nullcontext() if device is None else torch.device(device):
            self.kernel = build_kernel(
                {'type': self.kernel_type, **(kernel or {}), **kernel_args},
                in_channels=in_channels // groups,
                out_channels=out_channels,
                kernel_size=kernel_size,
                ndim=self.ndim,
                causal=causal,
                depthwise=self._depthwise,
            )
            zeros = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self._size = self.kernel.kernel_size
        if padding == 'valid':
            padding = 0
        self.padding: tuple[int, ...] | str = (
            'same'
            if causal or padding == 'same'
            else self._per_axis('padding', padding, 0)
        )
        self.register_parameter('weight', None)
        self.register_parameter('bias', zeros)
        self._kept: Tensor | None = None
        self.to(dtype=dtype)
        if deploy:
            self.switch_to_deploy()

    def _per_axis(self, name: str, value, least: int) -> tuple[int, ...]:
        values = (value,) * self.ndim if isinstance(value, int) else value
        if (
            isinstance(values, str)
            or len(tuple(values)) != self.ndim
            or any(not isinstance(v, int) or v < least for v in values)
        ):
            extra = ", 'same' or 'valid'" if name == 'padding' else ''
            raise ValueError(
                f'{name} must be an integer of at least {least}, {self.ndim} of '
                f'them{extra}, got {value!r}'
            )
        return tuple(values)

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Taps per axis.

        Assign an int or a tuple to resample the kernel; the padding follows so
        that the output keeps its size. Raises ``ValueError`` where no padding
        does that, or in deploy form, whose kernel is fixed.
        """
        return self._size

    @kernel_size.setter
    def kernel_size(self, kernel_size: int | Sequence[int]) -> None:
        if self.kernel is None:
            raise ValueError(
                f'the kernel is fixed at {self._size} in deploy form; resample '
                'before switch_to_deploy()'
            )
        before, size = self._size, to_size(kernel_size, self.ndim)
        if self.padding != 'same':
            growth = [d * (k - k0) for k, k0, d in zip(size, before, self.dilation)]
            padding = tuple(p + g // 2 for p, g in zip(self.padding, growth))
            if any(g % 2 for g in growth) or min(padding) < 0:
                raise ValueError(
                    f'no padding keeps the output size when kernel_size goes from '
                    f'{before} to {size} at padding={self.padding}; choose sides '
                    'of the same parity'
                )
            self.padding = padding
        self.kernel.kernel_size = self._size = size
        self._kept = None

    def resample(self, rate: float) -> None:
        """Adapt the kernel to inputs of another sampling rate.

        Args:
            rate (float): Samples over those that the same signal had in
                training, e.g. 2 for images of twice the height and width.
        """
        size = self._size if self.kernel is None else self.kernel.trained_size
        self.kernel_size = [resampled_taps(k, rate, self.causal) for k in size]

    def make_kernel(self) -> Tensor:
        """Return the dense kernel, ``(out_channels, in_channels / groups, *taps)``."""
        return self.kernel() if self.weight is None else self.weight

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Replace the parameters of the kernel by the dense kernel that they make."""
        if self.kernel is not None:
            self.weight = nn.Parameter(self.kernel.eval()().clone())
            self.kernel = self._kept = None

    def shapes_for(
        self, state_dict: Mapping[str, Tensor], prefix: str = ''
    ) -> dict[str, torch.Size]:
        """Shapes taken over from a state dict: in deploy form, the taps."""
        weight = state_dict.get(prefix + 'weight')
        if self.weight is None or weight is None or not is_whole(weight):
            return {}
        channels = self.weight.shape[:2]
        fits = weight.dim() == self.ndim + 2 and weight.shape[:2] == channels
        return {'weight': weight.shape} if fits and weight.numel() else {}

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        take_shapes(self, self.shapes_for(state_dict, prefix))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``(N, in_channels, *spatial)``, or an input without N."""
        if input.dim() == self.ndim + 1:
            return self.forward(input.unsqueeze(0)).squeeze(0)
        if input.dim() != self.ndim + 2 or input.shape[1] != self.in_channels:
            raise ValueError(
                f'{type(self).__name__} expects an input of {self.ndim + 2} dimensions '
                f'with {self.in_channels} channels in the second, or one without the '
                f'batch, got shape {tuple(input.shape)}'
            )
        if not input.is_floating_point():
            raise TypeError(
                f'{type(self).__name__} expects floating-point input, got '
                f'{input.dtype}; convert it with .float()'
            )
        weight, bias = self.weight, self.bias
        if weight is None:
            kept = not self.training and not torch.is_grad_enabled()
            weight = self._kept if kept and self._kept is not None else self.kernel()
        if autocast_dtype(input) is None:
            weight = weight.to(input.dtype)
            bias = None if bias is None else bias.to(input.dtype)
        return self.convolve(input, weight, bias)

    def convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve with a kernel that was made, of any number of taps."""
        sides = self._sides(weight.shape[2:])
        padding: int | tuple[int, ...] = tuple(before for before, _ in sides)
        if self.padding_mode != 'zeros' or any(b != a or b < 0 for b, a in sides):
            input, padding = _pad(input, sides, self.padding_mode), 0
        return _CONV[self.ndim](
            input,
            weight,
            bias,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def _sides(self, taps: Sequence[int]) -> list[tuple[int, int]]:
        """Padding before and after along each axis, for a kernel that was made.

        A given padding is meant for ``kernel_size``. A kernel of fewer taps is
        one of ``kernel_size`` with zeros around it, and gives outputs of the
        same size.
        """
        sides = []
        for axis, (k, d) in enumerate(zip(taps, self.dilation)):
            before, after = reach(k, self.causal, d)
            if self.padding != 'same':
                whole = reach(self._size[axis], self.causal, d)
                before += self.padding[axis] - whole[0]
                after += self.padding[axis] - whole[1]
            sides.append((before, after))
        return sides

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_kept': None}

    def extra_repr(self) -> str:
        """Return the arguments as torch's convolutions show them."""
        text = (
            f'{self.in_channels}, {self.out_channels}, kernel_size={self._size}, '
            f'stride={self.stride}, padding={self.padding!r}, '
            f'dilation={self.dilation}, groups={self.groups}, '
            f'bias={self.bias is not None}'
        )
        if self.padding_mode != 'zeros':
            text += f', padding_mode={self.padding_mode!r}'
        if self.causal:
            text += ', causal=True'
        return text + (', deploy=True' if self.kernel is None else '')


@MODELS.register_module()
class KernelConv1d(KernelConv):
    """1-D convolution with a kernel that is made.

    Arguments as for :class:`KernelConv2d`, and:

    Args:
        causal (bool): Pad on the left only, so that an output depends on its own
            and earlier samples; the last tap is the current sample. Defaults to
            False.

    Input: (N, in_channels, L) or (in_channels, L). Output: the same with
    out_channels and L'.
    """

    ndim = 1

    def convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve; a causal kernel as long as the sequence by its spectrum."""
        if not (
            self.causal
            and self.stride == self.dilation == (1,)
            and self.padding_mode == 'zeros'
        ):
            return super().convolve(input, weight, bias)
        first = 0
        # a GPU would have to be waited for; counters count all taps
        known = weight.device.type == 'cpu' and not watched()
        if self.kernel is not None and known:
            first = self.kernel.first_tap()
        weight = weight[..., first:]
        with remade(self.kernel, weight):
            return ops.causal_conv1d(input, weight, bias, groups=self.groups)


@MODELS.register_module()
class KernelConv2d(KernelConv):
    """2-D convolution with a kernel that is made.

    Takes the place of ``nn.Conv2d``, and in any OpenMMLab network of the layer
    named in ``conv_cfg``::

        conv_cfg=dict(
            type='smpconv_mm.KernelConv2d', kernel=dict(type='DenseKernel'))

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        kernel_size (int | Sequence[int]): Sides of the kernel.
        stride (int | Sequence[int]): Defaults to 1.
        padding (int | Sequence[int] | str): Samples around the input; ``'same'``
            keeps its size at stride 1, ``'valid'`` is 0. Where a kernel is made
            smaller than ``kernel_size``, outputs keep the size that they have
            with all taps. Defaults to 0.
        dilation (int | Sequence[int]): Defaults to 1.
        groups (int): Defaults to 1.
        bias (bool): Defaults to True; starts at 0.
        padding_mode (str): ``'zeros'``, ``'reflect'``, ``'replicate'`` or
            ``'circular'``. Defaults to ``'zeros'``.
        device (torch.device | str, optional): Defaults to None.
        dtype (torch.dtype, optional): Of the parameters. Defaults to None.
        kernel (dict, optional): Type and arguments of a registered
            :class:`~smpconv_mm.layers.Kernel`. Defaults to None: the kind that
            the class stands for, here
            :class:`~smpconv_mm.layers.SMPKernel`.
        deploy (bool): Hold the dense kernel as ``weight`` instead of the
            parameters that make it. Defaults to False.
        **kernel_args: More arguments of the kernel.

    Attributes:
        kernel (Kernel, optional): Makes the kernel; None in deploy form.
        weight (Parameter, optional): The dense kernel in deploy form.

    Input: (N, in_channels, H, W) or (in_channels, H, W). Output: the same with
    out_channels, H' and W'.

    Raises:
        ValueError: If an argument, or the shape of an input, is wrong.
        TypeError: If an input is not floating point, or the kernel does not
            know an argument.
    """

    ndim = 2

    def convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve; one kernel per channel by an operation of our own."""
        taps = weight.shape[2:]
        if (
            self._depthwise
            and self.stride == self.dilation == (1, 1)
            and self.padding_mode == 'zeros'
            and all(k % 2 for k in taps)
            and self._sides(taps) == [(k // 2, k // 2) for k in taps]
        ):
            return ops.depthwise_conv2d(input, weight, bias)
        return super().convolve(input, weight, bias)


@MODELS.register_module()
class KernelConv3d(KernelConv):
    """3-D convolution with a kernel that is made.

    Arguments as for :class:`KernelConv2d`.

    Input: (N, in_channels, D, H, W) or one without N. Output: the same with
    out_channels, D', H' and W'.
    """

    ndim = 3


def layer_for(kernel: dict, ndim: int) -> type[KernelConv]:
    """Class of the layer for a kind of kernel.

    Args:
        kernel (dict): Config of a kernel, with its type.
        ndim (int): Spatial axes.

    Returns:
        type[KernelConv]: The registered class for this kind, which may have an
        operation of its own, or else :class:`KernelConv2d` and its like.
    """
    kind = kernel['type']
    name = (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]
    general = {1: KernelConv1d, 2: KernelConv2d, 3: KernelConv3d}[ndim]
    for layer in MODELS.module_dict.values():
        if not isinstance(layer, type) or not issubclass(layer, general):
            continue
        if layer is not general and layer.kernel_type == name:
            return layer
    return general


def _pad(input: Tensor, sides: list[tuple[int, int]], mode: str) -> Tensor:
    """Pad, or cut where a number is negative; ``sides`` by axis from the first."""
    flat = [n for before_after in reversed(sides) for n in before_after]
    if min(flat) < 0:
        input = F.pad(input, [min(n, 0) for n in flat])
        flat = [max(n, 0) for n in flat]
    return F.pad(input, flat, 'constant' if mode == 'zeros' else mode)
