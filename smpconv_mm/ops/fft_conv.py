"""Convolution by Fourier transforms: two operators known to torch.

``smpconv_mm::fft_conv`` is a cross-correlation of stride 1 over any number of axes,
``smpconv_mm::fft_conv_backward`` its two gradients. Both are products of matrices, one
per frequency. All transforms have the same size, so that the backward pass can use
spectra that the forward pass made.

Kernels and the output's gradient are reversed before they are transformed: then a
correlation is a product of spectra without a conjugate, which would cost a copy.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from math import prod

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from .dispatch import operators_matter

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


def _convolve(input, weight, left, right, groups, keep):
    """Return the output, and with ``keep`` the spectra of input and kernel.

    A spectrum that is not kept is an empty tensor; that of the kernel is kept only
    where it is no larger than that of the input.
    """
    transforms = _Transforms(input.shape, weight.shape, left, right, groups)
    out = input.new_empty(transforms.out_shape)
    x = w = _complex(input.new_empty(0))
    if out.numel() == 0:
        return out, x, w.clone()
    x = transforms.spectrum(input)
    start = [k - 1 - before for k, before in zip(weight.shape[2:], left)]
    parts = transforms.parts()
    for part in parts:
        w = transforms.weight_spectrum(weight[part])
        signal = transforms.signal(transforms.output(x, w))
        out[:, part] = _window(signal, start, out.shape[2:])
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
    transforms = _Transforms(input.shape, weight.shape, left, right, groups)
    out = input.new_empty(transforms.out_shape)
    x = w = (0,)
    if keep and out.numel():
        x, w = transforms.spectrum_shape(), transforms.weight_spectrum_shape()
        w = w if transforms.keeps_weight() else (0,)
    return out, _complex(input.new_empty(x)), _complex(input.new_empty(w))


def _gradients(grad, input, weight, x, w, left, right, groups, of_input, of_weight):
    """Gradients of input and kernel; empty where not asked for.

    ``x`` and ``w`` are the spectra that the convolution kept, or empty.
    """
    transforms = _Transforms(input.shape, weight.shape, left, right, groups)
    grad_weight = weight.new_empty(weight.shape if of_weight else 0)
    if grad.numel() == 0:
        return input.new_zeros(input.shape if of_input else 0), grad_weight.zero_()
    if of_weight and not x.numel():
        x = transforms.spectrum(input)
    start = [n - 1 - before for n, before in zip(grad.shape[2:], left)]
    product = None
    for part in transforms.parts():
        g = transforms.spectrum(_reversed(grad[:, part]))
        if of_input:
            kept = w if w.numel() else transforms.weight_spectrum(weight[part])
            product = transforms.input_gradient(g, kept, product)
        if of_weight:
            signal = transforms.weight_signal(transforms.weight_gradient(g, x))
            grad_weight[part] = _window(signal, start, weight.shape[2:])
    if not of_input:
        return input.new_empty(0), grad_weight
    signal = _window(transforms.signal(product), right, input.shape[2:])
    return _reversed(signal).to(input.dtype), grad_weight


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
    nothing = _complex(grad.new_empty(0))
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


class _Transforms:
    """Sizes of the transforms of one convolution, and products of its spectra.

    A spectrum has the shape (frequencies * groups, rows, columns): one matrix per
    frequency and group. Where every group is a single channel its shape is (N or 1,
    channels, *frequencies), and numbers are multiplied instead of matrices.
    """

    def __init__(self, input, weight, left, right, groups) -> None:
        self.groups = groups
        self.batch, self.channels_in = input[:2]
        self.channels_out = weight[0]
        self.depthwise = groups == self.channels_in == self.channels_out
        sides = list(zip(input[2:], weight[2:], left, right))
        places = [n + before + after - k + 1 for n, k, before, after in sides]
        self.out_shape = [self.batch, self.channels_out, *places]
        self.sides = sides

    @cached_property
    def size(self) -> tuple[int, ...]:
        """Sizes at which all outputs that wrap around are among those cut off."""
        return tuple(
            _fast_length(max(int(n + max(before, after)), int(k)))
            for n, k, before, after in self.sides
        )

    @cached_property
    def frequencies(self) -> tuple[int, ...]:
        return *self.size[:-1], self.size[-1] // 2 + 1

    def parts(self) -> list[slice]:
        """Ranges of output channels that are convolved one after the other.

        The kernels of a range take about 16 MiB in float32: on CPUs, what passes
        between two transforms then stays in the cache.
        """
        if self.groups > 1:
            return [slice(None)]
        step = max(1, 2**22 // (self.channels_in * prod(self.size)))
        return [slice(i, i + step) for i in range(0, self.channels_out, step)]

    def keeps_weight(self) -> bool:
        return len(self.parts()) == 1 and self.channels_out <= self.batch * self.groups

    def spectrum_shape(self) -> tuple[int, ...]:
        if self.depthwise:
            return self.batch, self.channels_in, *self.frequencies
        columns = self.channels_in // self.groups
        return prod(self.frequencies) * self.groups, self.batch, columns

    def weight_spectrum_shape(self) -> tuple[int, ...]:
        if self.depthwise:
            return 1, self.channels_in, *self.frequencies
        rows, columns = (
            c // self.groups for c in (self.channels_out, self.channels_in)
        )
        return prod(self.frequencies) * self.groups, rows, columns

    def spectrum(self, maps: Tensor) -> Tensor:
        """The spectrum of maps, (N, channels, *spatial)."""
        spectrum = self._transform(maps)
        if self.depthwise:
            return spectrum
        spectrum = spectrum.flatten(2)
        if self.groups == 1:
            return spectrum.permute(2, 0, 1).contiguous()
        grouped = spectrum.unflatten(1, (self.groups, -1))
        return grouped.permute(3, 1, 0, 2).flatten(0, 1)

    def weight_spectrum(self, weight: Tensor) -> Tensor:
        """The spectrum of a kernel, reversed."""
        spectrum = self._transform(_reversed(weight))
        if self.depthwise:
            return spectrum.transpose(0, 1)
        spectrum = spectrum.flatten(2)
        if self.groups == 1:
            return spectrum.permute(2, 0, 1).contiguous()
        grouped = spectrum.unflatten(0, (self.groups, -1))
        return grouped.permute(3, 0, 1, 2).flatten(0, 1)

    def _transform(self, signal: Tensor) -> Tensor:
        if signal.dtype in (torch.float16, torch.bfloat16):
            signal = signal.float()
        return torch.fft.rfftn(signal, s=self.size, dim=_axes(signal))

    def output(self, x: Tensor, w: Tensor) -> Tensor:
        return x * w if self.depthwise else x @ w.transpose(1, 2)

    def input_gradient(self, g: Tensor, w: Tensor, before: Tensor | None) -> Tensor:
        if self.depthwise:
            return g * w
        return g @ w if before is None else before.baddbmm_(g, w)

    def weight_gradient(self, g: Tensor, x: Tensor) -> Tensor:
        return (g * x).sum(0, keepdim=True) if self.depthwise else g.transpose(1, 2) @ x

    def signal(self, spectrum: Tensor) -> Tensor:
        """The maps of a spectrum, (N, channels, *size)."""
        if self.depthwise:
            return self._back(spectrum)
        if self.groups == 1:
            return self._back(spectrum.permute(1, 2, 0))
        grouped = spectrum.unflatten(0, (-1, self.groups))
        return self._back(grouped.permute(2, 1, 3, 0).flatten(1, 2))

    def weight_signal(self, spectrum: Tensor) -> Tensor:
        """The kernel of a spectrum, (C_out, C_in / groups, *size)."""
        if self.depthwise:
            return self._back(spectrum.transpose(0, 1))
        if self.groups == 1:
            return self._back(spectrum.permute(1, 2, 0))
        grouped = spectrum.unflatten(0, (-1, self.groups))
        return self._back(grouped.permute(1, 2, 3, 0).flatten(0, 1))

    def _back(self, spectrum: Tensor) -> Tensor:
        spectrum = spectrum.reshape(*spectrum.shape[:2], *self.frequencies)
        axes = _axes(spectrum)
        return torch.fft.irfftn(spectrum.contiguous(), s=self.size, dim=axes)


def _axes(signal: Tensor) -> tuple[int, ...]:
    return tuple(range(2, signal.dim()))


def _reversed(signal: Tensor) -> Tensor:
    return signal.flip(_axes(signal))


def _window(signal: Tensor, start, length) -> Tensor:
    """The part of each axis that begins at ``start``, which may be negative."""
    for axis, (first, n) in enumerate(zip(start, length), 2):
        if first < 0:
            signal, first = signal.roll(-first, axis), 0
        signal = signal.narrow(axis, first, n)
    return signal


def _complex(tensor: Tensor) -> Tensor:
    """Convert to the dtype of spectra."""
    double = tensor.dtype == torch.float64
    return tensor.to(torch.complex128 if double else torch.complex64)


@lru_cache(maxsize=1024)
def _fast_length(least: int) -> int:
    """Smallest even length with no prime factor above 5 that is not below ``least``.

    Real transforms of such lengths are the fastest that every library has.
    """
    best = 2
    while best < least:
        best *= 2
    five = 1
    while five < best:
        three = five
        while three < best:
            two = 2 * three
            while two < least:
                two *= 2
            best = min(best, two)
            three *= 3
        five *= 5
    return best
