"""Spectra of maps and kernels: by fast transforms, or of small maps by matrices.

A transform of n places by a matrix takes n products a number, a fast one fewer; but
products of matrices run at the full speed of a processor. What a kernel leaves empty is
left out, and so are the places that no one asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from math import prod, tau

import torch
from torch import Tensor

# Longest side of a transform by matrices
_MATRIX_SIDE = 64

# Numbers of kernels that are transformed at once (16 MiB in float32)
_AT_ONCE = 2**22


def by_matrices(device: torch.device, size: Sequence[int], groups: int) -> bool:
    """Whether a convolution is transformed by matrices, at sides of ``size``."""
    flat = len(size) == 2 and groups == 1 and device.type == 'cpu'
    return flat and max(size) <= _MATRIX_SIDE


def transforms_of(
    input: Tensor, weight: Tensor, left: list[int], right: list[int], groups: int
) -> _Transforms:
    """The transforms that suit a convolution, see :func:`.fft_conv.fft_conv`."""
    sizes = input.shape, weight.shape, left, right, groups
    transforms = _MatrixTransforms(*sizes)
    if by_matrices(input.device, transforms.size, groups):
        return transforms
    return _Transforms(*sizes)


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

        On CPUs, what passes between two transforms then stays in the cache.
        """
        if self.groups > 1:
            return [slice(None)]
        step = max(1, _AT_ONCE // (self.channels_in * prod(self.size)))
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

    def empty(self, like: Tensor, shape) -> Tensor:
        """An empty tensor of the dtype of spectra."""
        double = like.dtype == torch.float64
        dtype = torch.complex128 if double else torch.complex64
        return like.new_empty(shape, dtype=dtype)

    def spectrum(self, maps: Tensor, backwards: bool = False) -> Tensor:
        """The spectrum of maps, (N, channels, *spatial), or of them reversed."""
        spectrum = self._transform(_reversed(maps) if backwards else maps)
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
        return torch.fft.rfftn(_wide(signal), s=self.size, dim=_axes(signal))

    def output(self, x: Tensor, w: Tensor) -> Tensor:
        return x * w if self.depthwise else x @ w.transpose(1, 2)

    def input_gradient(self, g: Tensor, w: Tensor, before: Tensor | None) -> Tensor:
        if self.depthwise:
            return g * w
        return g @ w if before is None else before.baddbmm_(g, w)

    def weight_gradient(self, g: Tensor, x: Tensor) -> Tensor:
        return (g * x).sum(0, keepdim=True) if self.depthwise else g.transpose(1, 2) @ x

    def signal(self, spectrum: Tensor, start, length, backwards=False) -> Tensor:
        """A part of the maps of a spectrum, (N, channels, *length), or it reversed.

        It begins at ``start``, which may be negative, and may wrap around.
        """
        if self.groups == 1 and not self.depthwise:
            spectrum = spectrum.permute(1, 2, 0)
        elif not self.depthwise:
            grouped = spectrum.unflatten(0, (-1, self.groups))
            spectrum = grouped.permute(2, 1, 3, 0).flatten(1, 2)
        signal = _window(self._back(spectrum), start, length)
        return _reversed(signal) if backwards else signal

    def weight_signal(self, spectrum: Tensor, start, length) -> Tensor:
        """A part of the kernel of a spectrum, (C_out, C_in / groups, *length)."""
        if self.depthwise:
            spectrum = spectrum.transpose(0, 1)
        elif self.groups == 1:
            spectrum = spectrum.permute(1, 2, 0)
        else:
            grouped = spectrum.unflatten(0, (-1, self.groups))
            spectrum = grouped.permute(1, 2, 3, 0).flatten(0, 1)
        return _window(self._back(spectrum), start, length)

    def _back(self, spectrum: Tensor) -> Tensor:
        spectrum = spectrum.reshape(*spectrum.shape[:2], *self.frequencies)
        axes = _axes(spectrum)
        return torch.fft.irfftn(spectrum.contiguous(), s=self.size, dim=axes)


class _MatrixTransforms(_Transforms):
    """Transforms of two short axes by products of real matrices, one group only.

    A spectrum has the shape (2, frequencies, rows, columns), flattened from two axes to
    one at the front: all real parts, then all imaginary ones.
    """

    @cached_property
    def size(self) -> tuple[int, ...]:
        return tuple(
            max(int(n + max(before, after)), int(k))
            for n, k, before, after in self.sides
        )

    def keeps_weight(self) -> bool:
        return len(self.parts()) == 1

    def spectrum_shape(self) -> tuple[int, ...]:
        return 2 * prod(self.frequencies), self.batch, self.channels_in

    def weight_spectrum_shape(self) -> tuple[int, ...]:
        return 2 * prod(self.frequencies), self.channels_out, self.channels_in

    def empty(self, like: Tensor, shape) -> Tensor:
        double = like.dtype == torch.float64
        return like.new_empty(shape, dtype=torch.float64 if double else torch.float32)

    def spectrum(self, maps: Tensor, backwards: bool = False) -> Tensor:
        maps = _wide(maps)
        places, shape = maps.shape[2:], maps.shape[:2]
        rows, columns = _to_spectrum(self.size, tuple(places), backwards, maps.dtype)
        # places first; of two axes, as torch has a fast copy for these
        flat = maps.reshape(prod(shape), prod(places)).t().contiguous()
        halved = columns @ flat.view(*places, -1)  # (height, 2 * frequencies, maps)
        return (rows @ halved.view(2 * places[0], -1)).view(-1, *shape)

    def weight_spectrum(self, weight: Tensor) -> Tensor:
        return self.spectrum(weight, backwards=True)

    def output(self, x: Tensor, w: Tensor) -> Tensor:
        return _complex_product(x, w.transpose(1, 2))

    def input_gradient(self, g: Tensor, w: Tensor, before: Tensor | None) -> Tensor:
        product = _complex_product(g, w)
        return product if before is None else before.add_(product)

    def weight_gradient(self, g: Tensor, x: Tensor) -> Tensor:
        return _complex_product(g.transpose(1, 2), x)

    def signal(self, spectrum: Tensor, start, length, backwards=False) -> Tensor:
        height, width = length
        where = tuple(start), tuple(length), backwards
        rows, columns = _to_signal(self.size, *where, spectrum.dtype)
        halved = rows @ spectrum.view(2 * self.size[0], -1)
        flat = columns @ halved.view(height, columns.shape[1], -1)
        maps = flat.view(height * width, -1).t().contiguous()
        return maps.view(*spectrum.shape[1:], height, width)

    def weight_signal(self, spectrum: Tensor, start, length) -> Tensor:
        return self.signal(spectrum, start, length)


def _complex_product(a: Tensor, b: Tensor) -> Tensor:
    """Product of matrices whose real parts lie before their imaginary ones."""
    (a_re, a_im), (b_re, b_im) = a.chunk(2), b.chunk(2)
    out = a.new_empty(len(a), a.shape[1], b.shape[2])
    re, im = out.chunk(2)
    torch.bmm(a_re, b_re, out=re).baddbmm_(a_im, b_im, alpha=-1)
    torch.bmm(a_re, b_im, out=im).baddbmm_(a_im, b_re)
    return out


@lru_cache(maxsize=128)
@torch.inference_mode(False)
def _to_spectrum(
    size: tuple[int, int], places: tuple[int, int], backwards: bool, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Matrices from places to frequencies, of the last axis up to half its size.

    Returns:
        tuple[Tensor, Tensor]: Of the first axis, from complex numbers to complex ones,
        (2 * frequencies, 2 * places), part by part before but place by place after; of
        the last, from real numbers, (2 * frequencies, places).
    """
    cos, sin = zip(*(
        _waves(_frequencies(n, axis), _order(0, k, n, backwards), n)
        for axis, (n, k) in enumerate(zip(size, places))
    ))  # fmt: skip
    parts = [(cos[0], sin[0]), (-sin[0], cos[0])]  # exp(-i t) of re + i im
    rows = torch.cat([torch.stack(pair, 2).flatten(1) for pair in parts])
    return rows.to(dtype), torch.cat([cos[1], -sin[1]]).to(dtype)


@lru_cache(maxsize=128)
@torch.inference_mode(False)
def _to_signal(
    size: tuple[int, int],
    start: tuple[int, int],
    places: tuple[int, int],
    backwards: bool,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """The matrices back, to some places only.

    Returns:
        tuple[Tensor, Tensor]: (2 * places, 2 * frequencies) of the first axis and
        (places, 2 * frequencies) of the last.
    """
    cos, sin = zip(*(
        _waves(_order(s, k, n, backwards), _frequencies(n, axis), n)
        for axis, (n, s, k) in enumerate(zip(size, start, places))
    ))  # fmt: skip
    parts = [(cos[0], -sin[0]), (sin[0], cos[0])]  # exp(i t) of re + i im
    rows = torch.stack([torch.cat(pair, 1) for pair in parts], 1).flatten(0, 1)
    # each stands for its negative, too, but for two that have none
    number = torch.full((size[1] // 2 + 1,), 2.0, dtype=torch.float64, device='cpu')
    number[0] = 1
    if size[1] % 2 == 0:
        number[-1] = 1
    columns = torch.cat([cos[1] * number, -sin[1] * number], 1)
    return (rows / size[0]).to(dtype), (columns / size[1]).to(dtype)


def _frequencies(size: int, axis: int) -> range:
    return range(size // 2 + 1 if axis else size)


def _order(start: int, number: int, size: int, backwards: bool) -> list[int]:
    places = [(start + i) % size for i in range(number)]
    return places[::-1] if backwards else places


def _waves(a, b, size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of ``a * b / size`` turns."""
    options = dict(dtype=torch.float64, device='cpu')
    a, b = torch.tensor(list(a), **options), torch.tensor(list(b), **options)
    angles = tau / size * (a[:, None] * b % size)
    return angles.cos(), angles.sin()


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


def _wide(signal: Tensor) -> Tensor:
    """Convert half precision to float32."""
    half = signal.dtype in (torch.float16, torch.bfloat16)
    return signal.float() if half else signal


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
