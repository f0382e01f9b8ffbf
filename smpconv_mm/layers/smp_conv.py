"""Convolutions whose kernels are made of self-moving points."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smpconv_mm import ops
from smpconv_mm.registry import MODELS

from .smp_kernel import SMPKernel

# Numbers in a kernel from which it is made again rather than kept (16 MiB)
_LONG = 2**22

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class _SMPConv(nn.Module):
    """Shared body of :class:`SMPConv1d`, :class:`SMPConv2d`, :class:`SMPConv3d`."""

    ndim: int
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
        *,
        causal: bool = False,
        shared_points: bool | None = None,
        normalize: bool | None = None,
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
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.groups = groups
        self.causal = causal
        self.stride = self._per_axis('stride', stride, 1)
        self.dilation = self._per_axis('dilation', dilation, 1)
        depthwise = groups == in_channels == out_channels
        if shared_points is None:
            shared_points = depthwise
        kernel = SMPKernel(
            in_channels // groups,
            out_channels,
            kernel_size,
            self.ndim,
            shared_points=shared_points,
            normalize=not shared_points if normalize is None else normalize,
            one_sided=causal,
            **kernel_args,
        )
        self._size = kernel.kernel_size
        if causal:
            if padding not in (0, 'same'):
                raise ValueError(
                    'a causal convolution pads by itself, on the left; leave padding '
                    f'out, got {padding!r}'
                )
            self.padding = (0,)
        elif padding == 'same':
            self.padding = self._same_padding(self._size)
        else:
            self.padding = self._per_axis('padding', padding, 0)
        self._depthwise2d = self.ndim == 2 and depthwise
        self.kernel: SMPKernel | None = kernel
        self.register_parameter('weight', None)
        self.register_parameter(
            'bias', nn.Parameter(torch.zeros(out_channels)) if bias else None
        )
        if deploy:
            self.switch_to_deploy()

    def _per_axis(self, name: str, value, least: int) -> tuple[int, ...]:
        values = (value,) * self.ndim if isinstance(value, int) else value
        if (
            isinstance(values, str)
            or len(tuple(values)) != self.ndim
            or any(not isinstance(v, int) or v < least for v in values)
        ):
            extra = " or 'same'" if name == 'padding' else ''
            raise ValueError(
                f'{name} must be an integer of at least {least}, {self.ndim} of '
                f'them{extra}, got {value!r}'
            )
        return tuple(values)

    def _same_padding(self, size: tuple[int, ...]) -> tuple[int, ...]:
        if any(d * (k - 1) % 2 for k, d in zip(size, self.dilation)):
            raise ValueError(
                "padding='same' needs odd kernel sides (or an even dilation), got "
                f'kernel_size={size}, dilation={self.dilation}'
            )
        return tuple(d * (k - 1) // 2 for k, d in zip(size, self.dilation))

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Taps per axis.

        Assign an int or a tuple to resample the kernel (see
        :class:`SMPKernel`); the padding follows so that the output keeps its
        size. Raises ``ValueError`` where no padding does that, or in deploy
        form, whose kernel is fixed.
        """
        return self._size

    @kernel_size.setter
    def kernel_size(self, kernel_size: int | Sequence[int]) -> None:
        if self.kernel is None:
            raise ValueError(
                f'the kernel is fixed at {self._size} in deploy form; resample '
                'before switch_to_deploy()'
            )
        before = self._size
        self.kernel.kernel_size = kernel_size
        size = self.kernel.kernel_size
        if not self.causal:
            growth = [d * (k - k0) for k, k0, d in zip(size, before, self.dilation)]
            padding = tuple(p + g // 2 for p, g in zip(self.padding, growth))
            if any(g % 2 for g in growth) or min(padding) < 0:
                self.kernel.kernel_size = before
                raise ValueError(
                    f'no padding keeps the output size when kernel_size goes from '
                    f'{before} to {size} at padding={self.padding}; choose sides '
                    'of the same parity'
                )
            self.padding = padding
        self._size = size

    def make_kernel(self) -> Tensor:
        """Return the dense kernel, (out_channels, in_channels / groups, *size)."""
        return self.kernel.make_kernel() if self.weight is None else self.weight

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Replace the points by the dense kernel that they make."""
        if self.kernel is not None:
            self.weight = nn.Parameter(self.kernel.make_kernel())
            self.kernel = None

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``input`` (N, in_channels, *spatial)."""
        if input.dim() != self.ndim + 2 or input.shape[1] != self.in_channels:
            raise ValueError(
                f'{type(self).__name__} expects an input of {self.ndim + 2} dimensions '
                f'with {self.in_channels} channels in the second, got shape '
                f'{tuple(input.shape)}'
            )
        weight = self.kernel() if self.weight is None else self.weight
        bias = self.bias
        if not torch.is_autocast_enabled(input.device.type):
            weight = weight.to(input.dtype)
            bias = None if bias is None else bias.to(input.dtype)
        if self._depthwise2d and self._keeps_size():
            return ops.depthwise_conv2d(input, weight, bias)
        if self.causal and self.stride == self.dilation == (1,) and self.groups == 1:
            weight = weight[..., self._empty() :]
            with self._remade(weight):
                return ops.causal_conv1d(input, weight, bias)
        if self.causal:
            input = F.pad(input, (self.dilation[0] * (self._size[0] - 1), 0))
        return _CONV[self.ndim](
            input, weight, bias, self.stride, self.padding, self.dilation, self.groups
        )

    def _empty(self) -> int:
        """Earliest taps that no point reaches; they need not be convolved."""
        if self.kernel is None or self.kernel.coord.is_cuda:
            return 0  # a GPU would have to be waited for
        return 0 if torch.compiler.is_compiling() else self.kernel.first_tap()

    def _remade(self, weight: Tensor) -> AbstractContextManager:
        """Keep a long kernel for the backward pass as the points that make it."""
        long = prod(self._size) * self.in_channels * self.out_channels > _LONG
        if not (self.kernel and long and weight.requires_grad):
            return nullcontext()
        if torch.compiler.is_compiling():
            return nullcontext()
        parameters = list(self.kernel.parameters())
        versions = [p._version for p in parameters]
        storage, dtype = weight.untyped_storage().data_ptr(), weight.dtype

        def pack(saved: Tensor) -> Tensor | tuple:
            if saved.untyped_storage().data_ptr() != storage:
                return saved
            return saved.size(), saved.stride(), saved.storage_offset()

        @torch.no_grad()
        def unpack(kept: Tensor | tuple) -> Tensor:
            if isinstance(kept, Tensor):
                return kept
            if versions != [p._version for p in parameters]:
                raise RuntimeError(
                    'points were changed in place between the forward and the '
                    'backward pass; call backward() before optimizer.step()'
                )
            return self.kernel.make_kernel().to(dtype).as_strided(*kept)

        return torch.autograd.graph.saved_tensors_hooks(pack, unpack)

    def _keeps_size(self) -> bool:
        return (
            self.stride == self.dilation == (1, 1)
            and all(k % 2 for k in self._size)
            and self.padding == tuple(k // 2 for k in self._size)
        )

    def extra_repr(self) -> str:
        """Return the arguments as torch's convolutions show them."""
        text = (
            f'{self.in_channels}, {self.out_channels}, kernel_size={self._size}, '
            f'stride={self.stride}, padding={self.padding}, dilation={self.dilation}, '
            f'groups={self.groups}, bias={self.bias is not None}'
        )
        if self.causal:
            text += ', causal=True'
        return text + (', deploy=True' if self.kernel is None else '')


@MODELS.register_module()
class SMPConv1d(_SMPConv):
    """1-D convolution with self-moving points (SMPConv, CVPR 2023).

    Arguments as for :class:`SMPConv2d`, and:

    Args:
        causal (bool): Pad on the left only, so that an output depends on its own
            and earlier samples; the last tap, at +1, is the current sample.
            Defaults to False.

    Input: (N, in_channels, L). Output: (N, out_channels, L').
    """

    ndim = 1


@MODELS.register_module()
class SMPConv2d(_SMPConv):
    """2-D convolution with self-moving points (SMPConv, CVPR 2023).

    Takes the place of ``nn.Conv2d``, and in any OpenMMLab network of the layer
    named in ``conv_cfg``::

        conv_cfg=dict(type='smpconv_mm.SMPConv2d', n_points=16)

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        kernel_size (int | Sequence[int]): Sides of the kernel.
        stride (int | Sequence[int]): Defaults to 1.
        padding (int | Sequence[int] | str): Zeros around the input, or ``'same'``
            (odd sides). Defaults to 0.
        dilation (int | Sequence[int]): Defaults to 1.
        groups (int): Defaults to 1.
        bias (bool): Defaults to True; starts at 0.
        shared_points (bool, optional): One set of points for all channels.
            Defaults to None: True for a depthwise convolution (``groups`` equal
            to both channel numbers), as in the published ImageNet models, else
            False.
        normalize (bool, optional): Divide by the number of active points.
            Defaults to None: the opposite of ``shared_points``, as published.
        deploy (bool): Hold the dense kernel as ``weight`` instead of points.
            Defaults to False.
        **kernel_args: ``n_points``, ``radius``, ``radius_range``,
            ``coord_std``, ``learn_coord``, ``learn_radius`` and ``clip_coord``
            of :class:`SMPKernel`.

    Input: (N, in_channels, H, W). Output: (N, out_channels, H', W').

    Raises:
        ValueError: If an argument, or the shape of an input, is wrong.
    """

    ndim = 2


@MODELS.register_module()
class SMPConv3d(_SMPConv):
    """3-D convolution with self-moving points (SMPConv, CVPR 2023).

    Arguments as for :class:`SMPConv2d`.

    Input: (N, in_channels, D, H, W). Output: (N, out_channels, D', H', W').
    """

    ndim = 3
