"""The operation, and two operators that are known to torch.

Each operator is the derivative of the other:

* ``smpconv_mm::depthwise_conv2d``, the convolution. The gradient of its input is
  the convolution of the output's gradient with the flipped kernel.
* ``smpconv_mm::depthwise_conv2d_weight``, the gradient of the kernel.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ..checks import autocast, check_tensors
from ..dispatch import OperatorBackend, choose, find


def depthwise_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    backend: str = 'auto',
) -> Tensor:
    """Convolve each channel with its own kernel; the map keeps its size.

    Stride and dilation are 1 and zeros surround the map (cross-correlation,
    as in all deep-learning libraries). :func:`.reference.depthwise_conv2d` is
    the definition. Where large kernels are convolved by Fourier transforms, an
    infinite or NaN input makes the whole map of its channel NaN.

    Args:
        input (Tensor): Maps of shape (N, C, H, W), any strides, any floating
            dtype. H and W may be smaller than the kernel; N may be 0.
        weight (Tensor): Kernels of shape (C, 1, Kh, Kw), Kh and Kw odd, of
            the input's dtype (under autocast, both are cast to its dtype).
        bias (Tensor, optional): Shape (C,). Defaults to None.
        backend (str): ``'auto'`` or a name of
            ``dispatch.backends('depthwise_conv2d')``. Defaults to ``'auto'``.

    Returns:
        Tensor: Shape (N, C, H, W). On the CPU its memory format is
        ``torch.channels_last``, by the CUDA kernels that of the input.

    Raises:
        ValueError: If a shape is wrong.
        TypeError: If dtypes are not floating or differ.
        RuntimeError: If devices differ or a forced backend cannot run.
    """
    _check(input, weight, bias)
    input, weight, bias = autocast(input, weight, bias)
    return choose('depthwise_conv2d', backend, input, weight, bias).run(
        input, weight, bias
    )


class OwnKernels(OperatorBackend):
    """A backend that computes the two operators."""

    def memory_format(self, input: Tensor) -> torch.memory_format:
        """Memory format of what :meth:`conv` returns for an input."""
        return torch.channels_last

    def conv(
        self, input: Tensor, weight: Tensor, bias: Tensor | None, flip: bool
    ) -> Tensor:
        """Convolve, with ``flip`` by the kernels turned by 180 degrees."""
        raise NotImplementedError

    def weight_gradient(self, input: Tensor, grad: Tensor, kh: int, kw: int) -> Tensor:
        """Gradient of the kernel, (C, 1, Kh, Kw), from that of the output."""
        raise NotImplementedError

    def run(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve by the operator, which has derivatives."""
        return conv_operator(input, weight, bias, False, self.name)


@torch.library.custom_op(
    'smpconv_mm::depthwise_conv2d',
    mutates_args=(),
    schema='(Tensor input, Tensor weight, Tensor? bias, bool flip, str backend)'
    ' -> Tensor',
)
def conv_operator(input, weight, bias, flip, backend):
    """:meth:`OwnKernels.conv` of the backend of that name."""
    return find('depthwise_conv2d', backend).conv(input, weight, bias, flip)


@torch.library.custom_op(
    'smpconv_mm::depthwise_conv2d_weight',
    mutates_args=(),
    schema='(Tensor input, Tensor grad, SymInt kh, SymInt kw, str backend) -> Tensor',
)
def weight_operator(input, grad, kh, kw, backend):
    """:meth:`OwnKernels.weight_gradient` of the backend of that name."""
    return find('depthwise_conv2d', backend).weight_gradient(input, grad, kh, kw)


@conv_operator.register_fake
def _(input, weight, bias, flip, backend):
    layout = find('depthwise_conv2d', backend).memory_format(input)
    return torch.empty_like(input, memory_format=layout)


@weight_operator.register_fake
def _(input, grad, kh, kw, backend):
    return input.new_empty(input.shape[1], 1, kh, kw)


def _conv_context(ctx, inputs, output):
    input, weight, _, ctx.flip, ctx.backend = inputs
    ctx.save_for_backward(input, weight)


def _conv_backward(ctx, grad):
    input, weight = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    grad_input = grad_weight = grad_bias = None
    if wanted[0]:
        grad_input = conv_operator(grad, weight, None, not ctx.flip, ctx.backend)
    if wanted[1]:
        grad_weight = weight_operator(input, grad, *weight.shape[2:], ctx.backend)
        grad_weight = grad_weight.flip(2, 3) if ctx.flip else grad_weight
    if wanted[2]:
        grad_bias = grad.sum((0, 2, 3))
    return grad_input, grad_weight, grad_bias, None, None


def _weight_context(ctx, inputs, output):
    input, grad, _, _, ctx.backend = inputs
    ctx.save_for_backward(input, grad)


def _weight_backward(ctx, grad_weight):
    input, grad = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    grad_input = grad_grad = None
    if wanted[0]:
        grad_input = conv_operator(grad, grad_weight, None, True, ctx.backend)
    if wanted[1]:
        grad_grad = conv_operator(input, grad_weight, None, False, ctx.backend)
    return grad_input, grad_grad, None, None, None


conv_operator.register_autograd(_conv_backward, setup_context=_conv_context)
weight_operator.register_autograd(_weight_backward, setup_context=_weight_context)


@register_flop_formula(torch.ops.smpconv_mm.depthwise_conv2d)
def _conv_flops(input_shape, weight_shape, *args, **kwargs) -> int:
    """Two operations a tap and place, taps on the padding included."""
    return 2 * prod(input_shape) * prod(weight_shape[2:])


@register_flop_formula(torch.ops.smpconv_mm.depthwise_conv2d_weight)
def _weight_flops(input_shape, grad_shape, kh, kw, *args, **kwargs) -> int:
    return 2 * prod(input_shape) * kh * kw


def _check(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if input.dim() != 4:
        raise ValueError(
            'depthwise_conv2d: input must have 4 dimensions (N, C, H, W), '
            f'got shape {tuple(input.shape)}'
        )
    n, channels, height, width = input.shape
    if weight.dim() != 4 or weight.shape[:2] != (channels, 1):
        raise ValueError(
            f'depthwise_conv2d: weight must have shape ({channels}, 1, Kh, Kw) '
            f'for an input of {channels} channels, got {tuple(weight.shape)}'
        )
    if height == 0 or width == 0:
        raise ValueError(
            f'depthwise_conv2d: the map has no area, got H x W = {height} x {width}'
        )
    if any(k % 2 == 0 for k in weight.shape[2:]):
        raise ValueError(
            'depthwise_conv2d: kernel sides must be odd so that the map keeps '
            f'its size, got {tuple(weight.shape[2:])}'
        )
    if bias is not None and bias.shape != (channels,):
        raise ValueError(
            f'depthwise_conv2d: bias must have shape ({channels},), got '
            f'{tuple(bias.shape)}'
        )
    check_tensors('depthwise_conv2d', input, weight, bias)
