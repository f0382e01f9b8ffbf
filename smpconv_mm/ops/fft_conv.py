"""Convolutions with kernels as long as the signal, by way of the spectrum."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .dispatch import choose, register_backend


def causal_conv1d(
    input: Tensor, kernel: Tensor, bias: Tensor | None = None, *, method: str = 'auto'
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
    # taps that reach back before the first sample see zeros only
    kernel = kernel[..., max(0, kernel.shape[-1] - input.shape[-1]) :]
    chosen = choose('causal_conv1d', method, input, kernel)
    out = chosen.fn(input, kernel)
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


def _slower_direct(input: Tensor, kernel: Tensor) -> str | None:
    taps = kernel.shape[-1]
    limit = _CROSSOVER['cuda' if input.is_cuda else 'cpu']
    if taps > limit:
        return f'{taps} taps are more than {limit}: a transform is faster'
    return None


# Taps from which the transform is faster, by tools/benchmarks/bench_fft_conv.py.
_CROSSOVER = {'cpu': 48, 'cuda': 256}


@register_backend('causal_conv1d', 'direct', slower=_slower_direct)
def _direct(input: Tensor, kernel: Tensor) -> Tensor:
    return F.conv1d(F.pad(input, (kernel.shape[-1] - 1, 0)), kernel)


@register_backend('causal_conv1d', 'fft')
def _fft(input: Tensor, kernel: Tensor) -> Tensor:
    if input.shape[0] == 0:  # no library has transforms of nothing
        return _direct(input, kernel)
    length = input.shape[-1]
    size = _fast_length(length + kernel.shape[-1] - 1)
    spectrum = torch.fft.rfft(_single(input), n=size)
    kernels = torch.fft.rfft(_single(kernel).flip(-1), n=size)
    product = torch.einsum('nif,oif->nof', spectrum, kernels)
    return torch.fft.irfft(product, n=size)[..., :length].to(input.dtype)


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
