"""Convolution by Fourier transforms: two operators known to torch.

``smpconv_mm::fft_conv`` is a cross-correlation of stride 1 over any number of axes,
``smpconv_mm::fft_conv_backward`` its two gradients. Both are products of matrices, one
per frequency. All transforms have the same size, so that the backward pass can use
spectra that the forward pass made.

Kernels and the output's gradient are reversed before they are transformed: then a
correlation is a product of spectra without a conjugate, which would cost a copy.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from .dispatch import operators_matter
from .spectra import transforms_of

# Numbers in a kernel above which spectra are made again in the backward pass (16 MiB)
_LONG = 2**22


def fft_conv(
    input: Tensor, weight: Tensor, left: list[int], right: list[int], groups: int
) -> Tensor:
    """Convolve, as ``F.convNd`` does with stride 1, by transforms.

    Args:
        input (Tensor): Shape (N, C_in, *spatial), no side 0; N may be 0.
        weight (Tensor): Shape (C_out, C_in / groups, *taps); its dtype may differ
            from the input's.
        left (list[int]): Zeros before each axis, fewer than its taps.
        right (list[int]): Zeros after each axis, fewer than its taps.
        groups (int): Number of groups of channels.

    Returns:
        Tensor: Of the input's dtype; half precision is computed in float32.
    """
    if not operators_matter():
        return _convolve(input, weight, left, right, groups, False)[0]
    wanted = torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad)
    keep = wanted and weight.numel() <= _LONG
    return conv_operator(input, weight, left, right, groups, keep)[0]


@torch.autocast('cpu', enabled=False)  # spectra are not for half precision
def _convolve(input, weight, left, right, groups, keep):
    """Return the output, and with ``keep`` the spectra of input and kernel.

    A spectrum that is not kept is an empty tensor; that of the kernel is kept only
    where it is no larger than that of the input.
    """
    transforms = transforms_of(input, weight, left, right, groups)
    out = input.new_empty(transforms.out_shape)
    if out.numel() == 0:
        return out, transforms.empty(input, 0), transforms.empty(input, 0)
    x = transforms.spectrum(input)
    start = [k - 1 - before for k, before in zip(weight.shape[2:], left)]
    parts = transforms.parts()
    for part in parts:
        w = transforms.weight_spectrum(weight[part])
        product = transforms.output(x, w)
        out[:, part] = transforms.signal(product, start, out.shape[2:])
    keep_weight = keep and transforms.keeps_weight()
    nothing = x.new_empty(0)
    return out, x if keep else nothing, w if keep_weight else nothing.clone()


conv_operator = torch.library.custom_op(
    'smpconv_mm::fft_conv',
    _convolve,
    mutates_args=(),
    schema='(Tensor input, Tensor weight, SymInt[] left, SymInt[] right, int groups,'
    ' bool keep) -> (Tensor, Tensor, Tensor)',
)


@conv_operator.register_fake
def _(input, weight, left, right, groups, keep):
    transforms = transforms_of(input, weight, left, right, groups)
    out = input.new_empty(transforms.out_shape)
    x = w = (0,)
    if keep and out.numel():
        x, w = transforms.spectrum_shape(), transforms.weight_spectrum_shape()
        w = w if transforms.keeps_weight() else (0,)
    return out, transforms.empty(input, x), transforms.empty(input, w)


@torch.autocast('cpu', enabled=False)
def _gradients(grad, input, weight, x, w, left, right, groups, of_input, of_weight):
    """Gradients of input and kernel; empty where not asked for.

    ``x`` and ``w`` are the spectra that the convolution kept, or empty.
    """
    transforms = transforms_of(input, weight, left, right, groups)
    grad_weight = weight.new_empty(weight.shape if of_weight else 0)
    if grad.numel() == 0:
        return input.new_zeros(input.shape if of_input else 0), grad_weight.zero_()
    if of_weight and not x.numel():
        x = transforms.spectrum(input)
    start = [n - 1 - before for n, before in zip(grad.shape[2:], left)]
    product = None
    for part in transforms.parts():
        g = transforms.spectrum(grad[:, part], backwards=True)
        if of_input:
            kept = w if w.numel() else transforms.weight_spectrum(weight[part])
            product = transforms.input_gradient(g, kept, product)
        if of_weight:
            spectrum = transforms.weight_gradient(g, x)
            grad_weight[part] = transforms.weight_signal(
                spectrum, start, weight.shape[2:]
            )
    if not of_input:
        return input.new_empty(0), grad_weight
    signal = transforms.signal(product, right, input.shape[2:], backwards=True)
    return signal.to(input.dtype), grad_weight


backward_operator = torch.library.custom_op(
    'smpconv_mm::fft_conv_backward',
    _gradients,
    mutates_args=(),
    schema='(Tensor grad, Tensor input, Tensor weight, Tensor x, Tensor w,'
    ' SymInt[] left, SymInt[] right, int groups, bool of_input, bool of_weight)'
    ' -> (Tensor, Tensor)',
)


@backward_operator.register_fake
def _(grad, input, weight, x, w, left, right, groups, of_input, of_weight):
    return (
        input.new_empty(input.shape if of_input else 0),
        weight.new_empty(weight.shape if of_weight else 0),
    )


def _conv_context(ctx, inputs, output):
    input, weight, *ctx.settings, _ = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(input, weight, *output[1:])


def _conv_backward(ctx, grad, *_):
    wanted = ctx.needs_input_grad[:2]
    if grad is None:  # undefined, as no gradients are materialized
        return (None,) * 6
    compute = backward_operator if operators_matter() else _gradients
    grads = compute(grad, *ctx.saved_tensors, *ctx.settings, *wanted)
    return *(g if w else None for g, w in zip(grads, wanted)), *(None,) * 4


def _backward_context(ctx, inputs, output):
    grad, input, weight, _, _, *ctx.settings, _, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(grad, input, weight)


def _backward_backward(ctx, of_input, of_weight):
    """Each gradient is linear in ``grad`` and in either the kernel or the input."""
    grad, input, weight = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    nothing = grad.new_empty(0)
    parts, to_input, to_weight = [], None, None
    if of_input is not None and of_input.numel():
        parts.append(fft_conv(of_input, weight, *ctx.settings))
        if wanted[2]:
            tensors = grad, of_input, weight, nothing, nothing
            to_weight = backward_operator(*tensors, *ctx.settings, False, True)[1]
    if of_weight is not None and of_weight.numel():
        parts.append(fft_conv(input, of_weight, *ctx.settings))
        if wanted[1]:
            tensors = grad, input, of_weight, nothing, nothing
            to_input = backward_operator(*tensors, *ctx.settings, True, False)[0]
    to_grad = sum(parts) if wanted[0] and parts else None
    return to_grad, to_input, to_weight, *(None,) * 7


conv_operator.register_autograd(_conv_backward, setup_context=_conv_context)
backward_operator.register_autograd(_backward_backward, setup_context=_backward_context)


@register_flop_formula(torch.ops.smpconv_mm.fft_conv)
def _conv_flops(input_shape, weight_shape, left, right, *args, **kwargs) -> int:
    """As many as a direct sum takes: two for each tap of each output."""
    places = prod(
        n + before + after - k + 1
        for n, k, before, after in zip(input_shape[2:], weight_shape[2:], left, right)
    )
    return 2 * input_shape[0] * places * prod(weight_shape)


@register_flop_formula(torch.ops.smpconv_mm.fft_conv_backward)
def _backward_flops(
    grad_shape, input_shape, weight_shape, x, w, left, right, groups, *wanted, **kwargs
) -> int:
    return sum(wanted) * _conv_flops(input_shape, weight_shape, left, right)
