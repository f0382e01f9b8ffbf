"""Convolutions with kernels of any size: by sums, or for large ones by transforms."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import autocast_dtype, check_tensors
from .dispatch import (
    Backend,
    OperatorBackend,
    choose,
    exporting,
    register_operation,
    transforming,
)
from .fft_conv import fft_conv
from .spectra import by_matrices
from .widening import in_float32, must_widen

Sides = list[tuple[int, int]]  # zeros before and after, axis by axis


def causal_conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    groups: int = 1,
    backend: str = 'auto',
) -> Tensor:
    """Convolve sequences so that an output depends on no later sample.

    ``out[n, o, t] = bias[o] + sum_ij weight[o, i, j] * input[n, i, t - (K - 1) + j]``
    with zeros before the sequence: the last tap multiplies the current sample.
    :func:`.reference.causal_conv1d` is the definition. Where it is computed by Fourier
    transforms, an infinite or NaN sample makes the whole output of its sequence NaN.

    Args:
        input (Tensor): Shape (N, C_in, L), L at least 1; N may be 0.
        weight (Tensor): Shape (C_out, C_in / groups, K) of the input's dtype, any
            K, also longer than L.
        bias (Tensor, optional): Shape (C_out,). Defaults to None.
        groups (int): Groups of channels that are convolved by themselves. Defaults
            to 1.
        backend (str): ``'direct'``, ``'fft'`` or ``'auto'``, which takes the one
            that is faster for the shape. Defaults to ``'auto'``.

    Returns:
        Tensor: Shape (N, C_out, L), of the input's dtype (under autocast, of
        autocast's dtype).

    Raises:
        ValueError: If a shape is wrong.
        TypeError: If dtypes are not floating or differ.
    """
    _check('causal_conv1d', input, weight, bias, groups)
    sides = [(weight.shape[-1] - 1, 0)]
    return _convolve(
        'causal_conv1d', input, weight, bias, (1,), sides, (1,), groups, backend
    )


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    backend: str = 'auto',
) -> Tensor:
    """Convolve maps with kernels of any size, as ``F.conv2d`` does.

    :func:`.reference.conv2d` is the definition. Where it is computed by Fourier
    transforms, an infinite or NaN input makes the whole output of its image NaN.

    Args:
        input (Tensor): Shape (N, C_in, H, W); N may be 0.
        weight (Tensor): Shape (C_out, C_in / groups, Kh, Kw) of the input's dtype.
        bias (Tensor, optional): Shape (C_out,). Defaults to None.
        stride (int | Sequence[int]): Defaults to 1.
        padding (int | Sequence[int] | str): Zeros around the map; ``'valid'`` is 0,
            ``'same'`` (stride 1) keeps the size of the map, with one more zero
            after than before it for an even kernel. Defaults to 0.
        dilation (int | Sequence[int]): Places between taps. Defaults to 1.
        groups (int): Groups of channels that are convolved by themselves. Defaults
            to 1.
        backend (str): ``'direct'``, ``'fft'`` (stride and dilation 1) or ``'auto'``,
            which takes the one that is faster for the shape. Defaults to ``'auto'``.

    Returns:
        Tensor: Shape (N, C_out, H', W'), of the input's dtype (under autocast, of
        autocast's dtype).

    Raises:
        ValueError: If an argument is wrong, or the kernel is larger than the padded
            map.
        TypeError: If dtypes are not floating or differ.
        RuntimeError: If a forced backend cannot run.
    """
    _check('conv2d', input, weight, bias, groups)
    stride, dilation = _pair('stride', stride, 1), _pair('dilation', dilation, 1)
    sides = _sides(padding, weight.shape[2:], stride, dilation)
    for n, k, d, (before, after) in zip(
        input.shape[2:], weight.shape[2:], dilation, sides
    ):
        if n + before + after < d * (k - 1) + 1:
            raise ValueError(
                'conv2d: the kernel is larger than the padded map, got taps '
                f'{tuple(weight.shape[2:])} (dilation {dilation}) on '
                f'{tuple(input.shape[2:])} with padding {padding!r}'
            )
    return _convolve(
        'conv2d', input, weight, bias, stride, sides, dilation, groups, backend
    )


def _convolve(
    op, input, weight, bias, stride, sides, dilation, groups, backend
) -> Tensor:
    """Drop taps that see zeros only, then convolve by the chosen backend."""
    dtype = autocast_dtype(input)
    if dtype is None or input.dtype == torch.float64:
        dtype = input.dtype
    if set(stride) == set(dilation) == {1}:
        weight, sides = _reached(input.shape[2:], weight, sides)
    args = input, weight, bias, stride, sides, dilation, groups
    return choose(op, backend, *args).run(*args).to(dtype)


def _reached(places: Sequence[int], weight: Tensor, sides: Sides):
    """Drop the taps at the ends of a kernel that see nothing but padding.

    All taps stay where a graph is traced whose sizes are left open: they are no ints.
    """
    kept = []
    for axis, (n, (before, after)) in enumerate(zip(places, sides), 2):
        k = weight.shape[axis]
        if isinstance(n, int) and isinstance(k, int):
            first = max(0, k - n - after)
            last = max(0, k - n - before)
            if first > 0 or last > 0:
                weight = weight.narrow(axis, first, k - first - last)
            before, after = before - first, after - last
        kept.append((before, after))
    return weight, kept


_LANES = 16 if 'AVX512' in torch.backends.cpu.get_cpu_capability() else 8


class Direct(Backend):
    """``F.conv1d`` or ``F.conv2d``."""

    name = 'direct'

    def slower(self, input, weight, bias, stride, sides, dilation, groups):
        """Return the reason, see :class:`.Backend`."""
        if exporting() or transforming():
            return None  # they know torch's own operators only
        if set(stride) != {1} or set(dilation) != {1}:
            return None
        taps = weight.shape[2:]
        if input.device.type != 'cpu':
            if prod(taps) > _MOST_TAPS:
                return f'a transform is faster for more than {_MOST_TAPS} taps'
            return None
        ends = list(zip(input.shape[2:], taps, sides))
        # lists, as torch.compile cannot trace prod of a generator
        places = prod([n + before + after - k + 1 for n, k, (before, after) in ends])
        direct = input.shape[0] * places * _products(weight, groups)
        size = [max(n + max(both), k) for n, k, both in ends]
        if by_matrices(input.device, size, groups):
            cost = _matrix_cost(input, weight, size)
        else:
            cost = _transform_cost(input, weight, groups, prod(size))
        if direct > cost:
            return f'a transform is faster for {tuple(taps)} taps and this input'
        return None

    def run(self, input, weight, bias, stride, sides, dilation, groups) -> Tensor:
        """Convolve."""
        if any(before != after for before, after in sides):
            input, padding = _pad(input, sides), 0
        else:
            padding = tuple(before for before, _ in sides)
        conv = F.conv1d if input.dim() == 3 else F.conv2d
        settings = stride, padding, dilation, groups
        if must_widen(input, weight):
            return in_float32(conv, input, weight, bias, *settings)
        return conv(input, weight, bias, *settings)


def _products(weight: Tensor, groups: int) -> int:
    """Multiply-adds of a direct sum at a place; of dense kernels in whole vectors.

    Of few inputs, such as colours, half a vector is not used.
    """
    if groups > 1:
        return prod(weight.shape)
    outputs, inputs = (-(-n // _LANES) * _LANES for n in weight.shape[:2])
    if weight.shape[1] < _LANES:
        inputs = (inputs + weight.shape[1]) // 2
    return outputs * inputs * prod(weight.shape[2:])


def _transform_cost(input: Tensor, weight: Tensor, groups: int, size: int) -> float:
    """Time of the transforms, in multiply-adds of a direct sum.

    Fitted to times of forward and backward passes on CPUs with AVX2 and AVX-512: on
    average over the measured sizes, the choice takes 2 % longer than the best one.
    """
    batch, outputs = input.shape[0], weight.shape[0]
    transformed = batch * (input.shape[1] + outputs) + outputs * weight.shape[1]
    product = batch * outputs * weight.shape[1]
    number, each, call = _TRANSFORM[input.dim() - 2]
    if groups == input.shape[1] == outputs:
        # torch is slow in the gradient of a depthwise kernel
        training = torch.is_grad_enabled() and weight.requires_grad
        number, each = _TRANSFORM_DEPTHWISE[training], 0.6
    return size * (number * transformed + each * product) + call


def _matrix_cost(input: Tensor, weight: Tensor, size: list[int]) -> float:
    """The same of transforms by matrices, which are counted one by one."""
    height, width = size
    half = width // 2 + 1
    maps = input.shape[0] * (input.shape[1] + weight.shape[0])
    kernels = prod(weight.shape[:2])
    transformed = sum([
        number * 2 * half * rows * (columns + 2 * height)
        for number, (rows, columns) in (
            (maps, input.shape[2:]),
            (kernels, weight.shape[2:]),
        )
    ])  # fmt: skip
    product = 4 * input.shape[0] * kernels
    each, in_product, frequency, call = _MATRIX
    at_frequency = in_product * product + frequency
    return each * transformed + height * half * at_frequency + call


# In multiply-adds of a direct sum: a number that is transformed, a product of two
# numbers of spectra, and a call, by the number of axes; a number that is transformed of
# depthwise kernels, without and with gradients
_TRANSFORM = {1: (100, 0.6, 5e5), 2: (220, 1.0, 4e6)}
_TRANSFORM_DEPTHWISE = 50, 12
# The same of transforms by matrices: a multiply-add of a transform, one of the products
# of spectra, these products at a frequency, and a call
_MATRIX = 3.0, 2.3, 2.1e4, 2.7e7

# On GPUs, taps above which a transform is taken
_MOST_TAPS = 256


class Fft(OperatorBackend):
    """Products of spectra; the cost hardly depends on the size of the kernel."""

    name = 'fft'
    needs = 'stride and dilation 1'

    def unsupported(self, input, weight, bias, stride, sides, dilation, groups):
        """Return the reason, see :class:`.Backend`."""
        if set(stride) != {1} or set(dilation) != {1}:
            return f'it has stride and dilation 1, got {stride} and {dilation}'
        return super().unsupported()

    def run(self, input, weight, bias, stride, sides, dilation, groups) -> Tensor:
        """Convolve."""
        most = [k - 1 for k in weight.shape[2:]]
        inner = [(min(k, a), min(k, b)) for k, (a, b) in zip(most, sides)]
        if inner != sides:  # outputs that see zeros only
            outer = [(a - c, b - d) for (a, b), (c, d) in zip(sides, inner)]
            input = _pad(input, outer)
        left, right = zip(*inner)
        out = fft_conv(input, weight, list(left), list(right), groups)
        if bias is None:
            return out
        return out + bias.to(out.dtype).view(-1, *[1] * len(sides))


def _pad(input: Tensor, sides: Sides) -> Tensor:
    return F.pad(input, [n for both in reversed(sides) for n in both])


def _causal_example(shape, kernel_size, **options) -> tuple:
    n, channels, *sides = shape
    taps = prod(sides)
    return (
        torch.ones(n, channels, taps, **options),
        torch.ones(channels, 1, taps, **options),
        None,
        (1,),
        [(taps - 1, 0)],
        (1,),
        channels,
    )


def _conv2d_example(shape, kernel_size, **options) -> tuple:
    channels, half = shape[1], kernel_size // 2
    return (
        torch.ones(shape, **options),
        torch.ones(channels, channels, kernel_size, kernel_size, **options),
        None,
        (1, 1),
        [(half, half)] * 2,
        (1, 1),
        1,
    )


BACKENDS = [Direct(), Fft()]
register_operation('causal_conv1d', BACKENDS, _causal_example)
register_operation('conv2d', BACKENDS, _conv2d_example)


def _pair(name: str, value: int | Sequence[int], least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or any(isinstance(n, str) or n < least for n in pair):
        raise ValueError(
            f'conv2d: {name} must be one or two integers of at least {least}, got '
            f'{value!r}'
        )
    return pair


def _sides(padding, taps, stride, dilation) -> Sides:
    if padding == 'valid':
        padding = 0
    if padding != 'same':
        return [(n, n) for n in _pair('padding', padding, 0)]
    if set(stride) != {1}:
        raise ValueError(
            f"conv2d: padding='same' is for stride 1, got stride {stride}; give the "
            'number of zeros'
        )
    reach = [d * (k - 1) for k, d in zip(taps, dilation)]
    return [(n // 2, n - n // 2) for n in reach]


def _check(op: str, input: Tensor, weight: Tensor, bias, groups: int) -> None:
    ndim = 1 if op == 'causal_conv1d' else 2
    axes = '(N, C_in, L)' if ndim == 1 else '(N, C_in, H, W)'
    if input.dim() != ndim + 2 or 0 in input.shape[1:]:
        raise ValueError(
            f'{op}: input must have shape {axes}, each but N at least 1, got '
            f'{tuple(input.shape)}'
        )
    channels = input.shape[1]
    if groups < 1 or channels % groups:
        raise ValueError(f'{op}: groups must divide {channels} channels, got {groups}')
    if (
        weight.dim() != input.dim()
        or weight.shape[1] != channels // groups
        or weight.shape[0] % groups
        or 0 in weight.shape
    ):
        taps = 'K' if ndim == 1 else 'Kh, Kw'
        raise ValueError(
            f'{op}: weight must have shape (C_out, {channels // groups}, {taps}) for '
            f'{channels} input channels in {groups} groups, with C_out a multiple of '
            f'{groups}, got {tuple(weight.shape)}'
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f'{op}: bias must have shape ({weight.shape[0]},), got {tuple(bias.shape)}'
        )
    check_tensors(op, input, weight, bias)
