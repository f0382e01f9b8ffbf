"""Convolutions with kernels as long as the signal, by way of the spectrum."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from .dispatch import Backend, choose, exporting, register_operation


def causal_conv1d(
    input: Tensor,
    kernel: Tensor,
    bias: Tensor | None = None,
    *,
    method: str = 'auto',
    remake: Callable[[], Tensor] | None = None,
) -> Tensor:
    """Convolve sequences so that an output depends on earlier samples only.

    ``out[n, o, t] = bias[o] + sum_ij kernel[o, i, j] * input[n, i, t - (K - 1) + j]``
    with zeros before the sequence: the last tap multiplies the current sample.

    Args:
        input (Tensor): Shape (N, I, L), L at least 1; N may be 0.
        kernel (Tensor): Shape (O, I, K), any K, also longer than L.
        bias (Tensor, optional): Shape (O,). Defaults to None.
        method (str): ``'direct'``, ``'fft'`` or ``'auto'``, which takes the one
            measured to be faster for the shape. Defaults to ``'auto'``.
        remake (Callable, optional): Gives the kernel once more. Where memory is
            short, the kernel is then not kept for the backward pass but made
            again. Defaults to None.

    Returns:
        Tensor: Shape (N, O, L), of the input's dtype; transforms of half
        precision are computed in float32.

    Raises:
        ValueError: If a shape is wrong.
    """
    if input.dim() != 3 or input.shape[-1] == 0:
        raise ValueError(
            'causal_conv1d: input must have shape (N, I, L) with L at least 1, got '
            f'{tuple(input.shape)}'
        )
    _check_kernel('causal_conv1d', input, kernel, bias, input.shape[1])
    # taps that reach back before the first sample see zeros only; how many they
    # are is not known while a graph for any length is made
    length = input.shape[-1]
    first = max(0, kernel.shape[-1] - length) if isinstance(length, int) else 0
    kernel = kernel[..., first:]
    remake = remake and partial(lambda make: make()[..., first:], remake)
    args = input, kernel, remake
    out = choose('causal_conv1d', method, *args).run(*args)
    return out if bias is None else out + bias[:, None].to(out.dtype)


def fft_conv2d(
    input: Tensor, kernel: Tensor, bias: Tensor | None = None, *, groups: int = 1
) -> Tensor:
    """Convolve maps with large kernels by way of the spectrum.

    The result is that of ``F.conv2d`` with stride 1 and 'same' zero padding.
    Its cost hardly depends on the size of the kernel.

    Args:
        input (Tensor): Shape (N, I, H, W); N may be 0.
        kernel (Tensor): Shape (O, I / groups, Kh, Kw) with odd sides, which may
            be larger than the map.
        bias (Tensor, optional): Shape (O,). Defaults to None.
        groups (int): Defaults to 1.

    Returns:
        Tensor: Shape (N, O, H, W), of the input's dtype; transforms of half
        precision are computed in float32.

    Raises:
        ValueError: If a shape is wrong.
    """
    if input.dim() != 4 or 0 in input.shape[2:]:
        raise ValueError(
            'fft_conv2d: input must have shape (N, I, H, W) with H and W at least 1, '
            f'got {tuple(input.shape)}'
        )
    n, channels, height, width = input.shape
    if groups < 1 or channels % groups or kernel.shape[0] % groups:
        raise ValueError(
            f'fft_conv2d: groups must divide {channels} and {kernel.shape[0]} '
            f'channels, got {groups}'
        )
    _check_kernel('fft_conv2d', input, kernel, bias, channels // groups)
    kh, kw = kernel.shape[2:]
    if kh % 2 == 0 or kw % 2 == 0:
        raise ValueError(
            'fft_conv2d: kernel sides must be odd so that the map keeps its size, got '
            f'{(kh, kw)}'
        )
    if n == 0:  # no library has transforms of nothing
        padding = (kh // 2, kw // 2)
        return F.conv2d(input, kernel, bias, padding=padding, groups=groups)
    # Wrapped tails may fall on rows and columns that are cut off.
    size = (_fast_length(height + kh // 2), _fast_length(width + kw // 2))
    size = (max(size[0], kh), max(size[1], kw))
    spectrum = torch.fft.rfft2(_single(input), s=size)
    kernels = torch.fft.rfft2(_single(kernel).flip(2, 3), s=size)
    product = torch.einsum(
        'ngihw,goihw->ngohw',
        spectrum.unflatten(1, (groups, -1)),
        kernels.unflatten(0, (groups, -1)),
    )
    out = torch.fft.irfft2(product.flatten(1, 2), s=size)
    rows = slice(kh // 2, kh // 2 + height)
    columns = slice(kw // 2, kw // 2 + width)
    out = out[..., rows, columns].to(input.dtype)
    return out if bias is None else out + bias[:, None, None].to(out.dtype)


def _check_kernel(op, input, kernel, bias, channels) -> None:
    if kernel.dim() != input.dim() or kernel.shape[1] != channels or 0 in kernel.shape:
        raise ValueError(
            f'{op}: kernel must have {input.dim()} dimensions with {channels} input '
            f'channels in the second, got {tuple(kernel.shape)}'
        )
    if bias is not None and bias.shape != kernel.shape[:1]:
        raise ValueError(
            f'{op}: bias must have shape ({kernel.shape[0]},), got {tuple(bias.shape)}'
        )


class Direct(Backend):
    """``F.conv1d``."""

    name = 'direct'

    def slower(self, input, kernel, remake) -> str | None:
        """Return the reason, see :class:`.Backend`."""
        if exporting():
            return None  # exporters know plain convolutions only
        taps = kernel.shape[-1]
        limit = _CROSSOVER['cuda' if input.is_cuda else 'cpu']
        if taps > limit:
            return f'{taps} taps are more than {limit}: a transform is faster'
        return None

    def run(self, input, kernel, remake) -> Tensor:
        """Convolve."""
        return _direct(input, kernel)


# Taps from which the transform is faster, by tools/benchmarks/bench_fft_conv.py.
_CROSSOVER = {'cpu': 16, 'cuda': 256}


class Fft(Backend):
    """By way of the spectrum."""

    name = 'fft'

    def run(self, input, kernel, remake) -> Tensor:
        """Convolve."""
        return _fft(input, kernel, remake)


def _example(shape, kernel_size, **options) -> tuple:
    return (
        torch.ones(shape[0], 30, 784, **options),
        torch.ones(30, 30, 784, **options),
        None,
    )


register_operation('causal_conv1d', [Direct(), Fft()], _example)


def _direct(input: Tensor, kernel: Tensor) -> Tensor:
    return F.conv1d(F.pad(input, (kernel.shape[-1] - 1, 0)), kernel)


def _fft(input: Tensor, kernel: Tensor, remake=None) -> Tensor:
    if input.shape[0] == 0:  # no library has transforms of nothing
        return _direct(input, kernel)
    if input.device.type == 'cpu' and not torch.compiler.is_compiling():
        out = _CausalFFT.apply(_single(input), _single(kernel), remake)
        return out.to(input.dtype)
    length = input.shape[-1]
    size = _fast_length(length + kernel.shape[-1] - 1)
    spectrum = torch.fft.rfft(_single(input), n=size)
    kernels = torch.fft.rfft(_single(kernel).flip(-1), n=size)
    product = torch.einsum('nif,oif->nof', spectrum, kernels)
    return torch.fft.irfft(product, n=size)[..., :length].to(input.dtype)


class _CausalFFT(torch.autograd.Function):
    """The transform on CPUs, as matrix products, one a frequency.

    Output channels go by so many at a time that what lies between two
    transforms stays in the cache. With ``remake``, where memory is short, neither
    spectrum nor kernel is kept for the backward pass; without it, the spectrum of
    the kernel too is kept unless it is larger than that of the input.

    Seen backwards in time, the gradient of the input is the causal convolution of
    the output's gradient, and the gradient of the kernel ends their convolution;
    so nothing need be conjugated, which costs torch a copy.
    """

    @staticmethod
    def forward(ctx, input: Tensor, kernel: Tensor, remake) -> Tensor:
        length = ctx.length = input.shape[-1]
        ctx.remake = remake
        size = _fast_length(length + kernel.shape[-1] - 1)
        x = _spectra(input, size)
        out = input.new_empty(len(input), len(kernel), length)
        parts = _parts(kernel, size)
        for part in parts:
            spectra = _spectra(kernel[part].flip(-1), size)
            out[:, part] = _signals(x @ spectra.transpose(1, 2), size)[..., :length]
        if remake:
            ctx.save_for_backward(input, None, None)
        else:
            keep = len(parts) == 1 and spectra.numel() <= x.numel()
            ctx.save_for_backward(x, kernel, spectra if keep else None)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, kernel, kept = ctx.saved_tensors
        if ctx.remake:
            kernel = ctx.remake().to(x.dtype)
        length, taps = ctx.length, kernel.shape[-1]
        size = _fast_length(length + taps - 1)
        if ctx.remake:
            x = _spectra(x, size)
        grad_x = None
        grad_kernel = torch.empty_like(kernel)
        for part in _parts(kernel, size):
            g = _spectra(grad[:, part].flip(-1), size)
            spectra = kept
            if kept is None:
                spectra = _spectra(kernel[part].flip(-1), size)
            grad_x = g @ spectra if grad_x is None else grad_x.baddbmm_(g, spectra)
            product = _signals(g.transpose(1, 2) @ x, size)
            grad_kernel[part] = product[..., length - taps : length]
        return _signals(grad_x, size)[..., :length].flip(-1), grad_kernel, None


def _parts(kernel: Tensor, size: int) -> list[slice]:
    """Output channels whose kernels have about 16 MiB in float32, at least one."""
    step = max(1, 2**22 // (kernel.shape[1] * size))
    return [slice(i, i + step) for i in range(0, len(kernel), step)]


def _spectra(signals: Tensor, size: int) -> Tensor:
    """(A, B, L) to (F, A, B), one matrix a frequency."""
    return torch.fft.rfft(signals, n=size).permute(2, 0, 1).contiguous()


def _signals(spectra: Tensor, size: int) -> Tensor:
    """(F, A, B) to (A, B, size)."""
    return torch.fft.irfft(spectra.permute(1, 2, 0).contiguous(), n=size)


def _single(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


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
