"""The operation, and three operators that are known to torch.

Each operator's derivatives are the two others:

* ``smpconv_mm::oriented_conv2d``, the convolution;
* ``smpconv_mm::oriented_conv2d_input``, the gradient of the input;
* ``smpconv_mm::oriented_conv2d_weight``, the gradient of the weight.

Angles have no gradient: the taps of a line jump from pixel to pixel.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ..checks import autocast, check_tensors
from ..dispatch import OperatorBackend, choose, exporting, find
from ..extension import why_not


def oriented_conv2d(
    input: Tensor,
    weight: Tensor,
    angle: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    backend: str = 'auto',
) -> Tensor:
    """Convolve each channel with taps on a line through the centre.

    Tap ``s`` of channel ``c`` lies ``trunc(-sin(angle[c]) * (s - K // 2))`` rows and
    ``trunc(cos(angle[c]) * (s - K // 2))`` columns from the centre: angle 0 runs from
    left to right, pi / 2 from bottom to top. Taps on one pixel add up. Zeros surround
    the map. The exact rule is that of :func:`.reference.line_offsets`;
    :func:`.reference.oriented_conv2d` is the definition. From "Convolutional Networks
    with Oriented 1D Kernels" (ICCV 2023).

    Args:
        input (Tensor): Maps of shape (N, C, H, W), any strides, any floating dtype,
            N may be 0.
        weight (Tensor): Taps of shape (C, 1, 1, K), K odd, of the input's dtype
            (under autocast, both are cast to its dtype).
        angle (Tensor): Radians of shape (C,), rounded to float32. It has no gradient.
        bias (Tensor, optional): Shape (C,). Defaults to None.
        stride (int): Of both axes; output (p, q) has its centre at input
            (p * stride, q * stride). Defaults to 1.
        backend (str): ``'auto'`` or a name of
            ``dispatch.backends('oriented_conv2d')``. Defaults to ``'auto'``.

    Returns:
        Tensor: Shape (N, C, ceil(H / stride), ceil(W / stride)).

    Raises:
        ValueError: If a shape, the stride or (on the CPU) an angle is wrong. On a GPU,
            where a look at the angles would take time, a channel whose angle is not
            finite becomes NaN.
        TypeError: If dtypes are not floating or differ.
        RuntimeError: If devices differ or a forced backend cannot run.
    """
    _check(input, weight, angle, bias, stride)
    input, weight, bias = autocast(input, weight, bias)
    args = (input, weight, angle.detach().float(), bias, stride)
    return choose('oriented_conv2d', backend, *args).run(*args)


class OwnKernels(OperatorBackend):
    """A backend that computes the three operators.

    Attributes:
        device (str): Type of the device that it runs on.
    """

    device: str

    def unsupported(self, input, weight, angle, bias, stride) -> str | None:
        """Return the reason, see :class:`.Backend`."""
        names = 'oriented_conv2d', 'oriented_conv2d_input', 'oriented_conv2d_weight'
        return why_not(names, self.device) or super().unsupported()

    def conv(
        self, input: Tensor, weight: Tensor, angle: Tensor, bias: Tensor | None, stride
    ) -> Tensor:
        """Convolve; the layout of the result is that of :meth:`memory_format`."""
        raise NotImplementedError

    def input_gradient(
        self, grad: Tensor, weight: Tensor, angle: Tensor, stride, height, width
    ) -> Tensor:
        """Gradient of the input from that of the output."""
        raise NotImplementedError

    def weight_gradient(
        self, input: Tensor, grad: Tensor, angle: Tensor, taps, stride
    ) -> Tensor:
        """Gradient of the weight, (C, 1, 1, taps), from that of the output."""
        raise NotImplementedError

    def memory_format(self, maps: Tensor) -> torch.memory_format:
        """Of the result of :meth:`conv` or :meth:`input_gradient` for these maps."""
        raise NotImplementedError

    def run(self, input, weight, angle, bias, stride) -> Tensor:
        """Convolve by the operator, which has derivatives."""
        return conv_operator(input, weight, angle, bias, stride, self.name)


@torch.library.custom_op(
    'smpconv_mm::oriented_conv2d',
    mutates_args=(),
    schema='(Tensor input, Tensor weight, Tensor angle, Tensor? bias, SymInt stride,'
    ' str backend) -> Tensor',
)
def conv_operator(input, weight, angle, bias, stride, backend):
    """:meth:`OwnKernels.conv` of the backend of that name."""
    found = find('oriented_conv2d', backend)
    return found.conv(input, weight, angle, bias, stride)


@torch.library.custom_op(
    'smpconv_mm::oriented_conv2d_input',
    mutates_args=(),
    schema='(Tensor grad, Tensor weight, Tensor angle, SymInt stride, SymInt height,'
    ' SymInt width, str backend) -> Tensor',
)
def input_operator(grad, weight, angle, stride, height, width, backend):
    """:meth:`OwnKernels.input_gradient` of the backend of that name."""
    found = find('oriented_conv2d', backend)
    return found.input_gradient(grad, weight, angle, stride, height, width)


@torch.library.custom_op(
    'smpconv_mm::oriented_conv2d_weight',
    mutates_args=(),
    schema='(Tensor input, Tensor grad, Tensor angle, SymInt taps, SymInt stride,'
    ' str backend) -> Tensor',
)
def weight_operator(input, grad, angle, taps, stride, backend):
    """:meth:`OwnKernels.weight_gradient` of the backend of that name."""
    found = find('oriented_conv2d', backend)
    return found.weight_gradient(input, grad, angle, taps, stride)


def _empty(maps: Tensor, height: int, width: int, backend: str) -> Tensor:
    layout = find('oriented_conv2d', backend).memory_format(maps)
    size = (*maps.shape[:2], height, width)
    return torch.empty(size, dtype=maps.dtype, device=maps.device, memory_format=layout)


@conv_operator.register_fake
def _(input, weight, angle, bias, stride, backend):
    height, width = (-(-size // stride) for size in input.shape[2:])
    return _empty(input, height, width, backend)


@input_operator.register_fake
def _(grad, weight, angle, stride, height, width, backend):
    return _empty(grad, height, width, backend)


@weight_operator.register_fake
def _(input, grad, angle, taps, stride, backend):
    return input.new_empty(input.shape[1], 1, 1, taps)


def _conv_context(ctx, inputs, output):
    input, weight, angle, _, ctx.stride, ctx.backend = inputs
    ctx.save_for_backward(input, weight, angle)


def _conv_backward(ctx, grad):
    input, weight, angle = ctx.saved_tensors
    wanted, rest = ctx.needs_input_grad, (ctx.stride, ctx.backend)
    grad_input = grad_weight = grad_bias = None
    if wanted[0]:
        grad_input = input_operator(
            grad, weight, angle, ctx.stride, *input.shape[2:], ctx.backend
        )
    if wanted[1]:
        grad_weight = weight_operator(input, grad, angle, weight.shape[-1], *rest)
    if wanted[3]:
        grad_bias = grad.sum((0, 2, 3))
    return grad_input, grad_weight, None, grad_bias, None, None


def _input_context(ctx, inputs, output):
    grad, weight, angle, ctx.stride, _, _, ctx.backend = inputs
    ctx.save_for_backward(grad, weight, angle)


def _input_backward(ctx, grad_input):
    grad, weight, angle = ctx.saved_tensors
    wanted, rest = ctx.needs_input_grad, (ctx.stride, ctx.backend)
    grad_grad = grad_weight = None
    if wanted[0]:
        grad_grad = conv_operator(grad_input, weight, angle, None, *rest)
    if wanted[1]:
        grad_weight = weight_operator(grad_input, grad, angle, weight.shape[-1], *rest)
    return grad_grad, grad_weight, None, None, None, None, None


def _weight_context(ctx, inputs, output):
    input, grad, angle, _, ctx.stride, ctx.backend = inputs
    ctx.save_for_backward(input, grad, angle)


def _weight_backward(ctx, grad_weight):
    input, grad, angle = ctx.saved_tensors
    wanted, rest = ctx.needs_input_grad, (ctx.stride, ctx.backend)
    grad_input = grad_grad = None
    if wanted[0]:
        grad_input = input_operator(
            grad, grad_weight, angle, ctx.stride, *input.shape[2:], ctx.backend
        )
    if wanted[1]:
        grad_grad = conv_operator(input, grad_weight, angle, None, *rest)
    return grad_input, grad_grad, None, None, None, None


conv_operator.register_autograd(_conv_backward, setup_context=_conv_context)
input_operator.register_autograd(_input_backward, setup_context=_input_context)
weight_operator.register_autograd(_weight_backward, setup_context=_weight_context)


@register_flop_formula(torch.ops.smpconv_mm.oriented_conv2d)
def _conv_flops(input_shape, weight_shape, *args, out_shape, **kwargs) -> int:
    """Two operations a tap and output, taps on the padding included."""
    return 2 * prod(out_shape) * weight_shape[-1]


@register_flop_formula(torch.ops.smpconv_mm.oriented_conv2d_input)
def _input_flops(grad_shape, weight_shape, *args, **kwargs) -> int:
    return 2 * prod(grad_shape) * weight_shape[-1]


@register_flop_formula(torch.ops.smpconv_mm.oriented_conv2d_weight)
def _weight_flops(input_shape, grad_shape, angle_shape, taps, *args, **kwargs) -> int:
    return 2 * prod(grad_shape) * taps


def _check(input, weight, angle, bias, stride) -> None:
    if input.dim() != 4:
        raise ValueError(
            'oriented_conv2d: input must have 4 dimensions (N, C, H, W), '
            f'got shape {tuple(input.shape)}'
        )
    _, channels, height, width = input.shape
    if weight.dim() != 4 or weight.shape[:3] != (channels, 1, 1):
        raise ValueError(
            f'oriented_conv2d: weight must have shape ({channels}, 1, 1, K) for an '
            f'input of {channels} channels, got {tuple(weight.shape)}'
        )
    if weight.shape[-1] % 2 == 0:
        raise ValueError(
            'oriented_conv2d: the number of taps must be odd, so that one is at the '
            f'centre, got {weight.shape[-1]}'
        )
    if height == 0 or width == 0:
        raise ValueError(
            f'oriented_conv2d: the map has no area, got H x W = {height} x {width}'
        )
    if angle.shape != (channels,):
        raise ValueError(
            f'oriented_conv2d: angle must have shape ({channels},), one for each '
            f'channel, got {tuple(angle.shape)}'
        )
    if bias is not None and bias.shape != (channels,):
        raise ValueError(
            f'oriented_conv2d: bias must have shape ({channels},), got '
            f'{tuple(bias.shape)}'
        )
    if stride < 1:
        raise ValueError(f'oriented_conv2d: stride must be at least 1, got {stride}')
    check_tensors('oriented_conv2d', input, weight, bias)
    if not angle.is_floating_point():
        raise TypeError(
            f'oriented_conv2d: angle must be floating point, got {angle.dtype}'
        )
    if angle.device != input.device:
        raise RuntimeError(
            'oriented_conv2d: angle must be on the device of the input, got '
            f'{angle.device} and {input.device}'
        )
    if angle.device.type == 'cpu' and not (
        torch.compiler.is_compiling() or exporting() or angle.isfinite().all()
    ):
        bad = (~angle.isfinite()).nonzero()[0].item()
        raise ValueError(
            f'oriented_conv2d: angles must be finite, got {angle[bad].item()} for '
            f'channel {bad}'
        )
