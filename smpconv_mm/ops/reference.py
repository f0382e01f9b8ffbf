"""Slow, obvious definitions of every operation: documentation and test oracle.

They use loops or plain broadcasting, work in any floating dtype (use float64)
and are differentiable by autograd.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor


def depthwise_conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None):
    """Definition of :func:`smpconv_mm.ops.depthwise_conv2d`.

    ``out[n, c, i, j] = bias[c] + sum_uv weight[c, 0, u, v] *
    input[n, c, i + u - Kh // 2, j + v - Kw // 2]`` with zeros outside the map.
    """
    height, width = input.shape[-2:]
    kh, kw = weight.shape[-2:]
    padded = torch.nn.functional.pad(input, (kw // 2, kw // 2, kh // 2, kh // 2))
    out = torch.zeros_like(input)
    for u, v in product(range(kh), range(kw)):
        out = (
            out
            + weight[:, :, u, v][None, :, :, None]
            * (padded[:, :, u : u + height, v : v + width])
        )
    return out if bias is None else out + bias[None, :, None, None]


def line_offsets(angle: Tensor, taps: int) -> Tensor:
    """Rows and columns of the taps of oriented kernels, from the centre.

    Tap ``s`` of channel ``c`` lies at ``trunc(-sin(angle[c]) * d)`` rows and
    ``trunc(cos(angle[c]) * d)`` columns, ``d = s - taps // 2``. Sine and cosine are
    float32 numbers, as is the product, and the fraction is dropped toward zero:
    another rounding moves taps by a pixel (at 90 degrees all of them).

    Args:
        angle (Tensor): Radians, shape (C,).
        taps (int): Taps of a kernel.

    Returns:
        Tensor: int64, shape (C, taps, 2), on the angle's device.
    """
    exact = angle.float().double()
    distance = torch.arange(taps, device=angle.device) - taps // 2
    turns = torch.stack([-exact.sin(), exact.cos()], -1).float()
    return (turns[:, None] * distance.float()[:, None]).trunc().long()


def oriented_conv2d(
    input: Tensor,
    weight: Tensor,
    angle: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
):
    """Definition of :func:`smpconv_mm.ops.oriented_conv2d`.

    ``out[n, c, p, q] = bias[c] + sum_s weight[c, 0, 0, s] * input[n, c,
    p * stride + rows[c, s], q * stride + columns[c, s]]`` with zeros outside the
    map, ``p < ceil(H / stride)``, ``q < ceil(W / stride)``, and the offsets of
    :func:`line_offsets`.
    """
    taps, reach = weight.shape[-1], weight.shape[-1] // 2
    offsets = line_offsets(angle, taps).tolist()
    height, width = input.shape[-2:]
    padded = torch.nn.functional.pad(input, (reach,) * 4)
    maps = []
    for channel, places in enumerate(offsets):
        total = torch.zeros_like(input[:, channel, ::stride, ::stride])
        for tap, (row, column) in enumerate(places):
            row, column = row + reach, column + reach
            seen = padded[:, channel, row : row + height, column : column + width]
            total = total + weight[channel, 0, 0, tap] * seen[:, ::stride, ::stride]
        maps.append(total)
    out = torch.stack(maps, 1)
    return out if bias is None else out + bias[:, None, None]


def involution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int | None = None,
    dilation: int = 1,
    order: str = 'contiguous',
    border: str = 'zeros',
) -> Tensor:
    """Definition of :func:`smpconv_mm.ops.involution`, tap by tap."""
    channels = input.shape[1]
    groups, k = weight.shape[1:3]
    if padding is None:
        padding = dilation * (k - 1) // 2
    rows, columns = (
        window_starts(outputs, size, k, stride, padding, dilation, border)
        for outputs, size in zip(weight.shape[-2:], input.shape[-2:])
    )
    channel = torch.arange(channels)
    group = channel % groups if order == 'interleaved' else channel * groups // channels
    # zeros all around: a place outside of the map is moved to the first or last
    padded = torch.nn.functional.pad(input, (1, 1, 1, 1))
    out = 0
    for u, v in product(range(k), range(k)):
        y = (rows + u * dilation + 1).clamp(0, padded.shape[-2] - 1)
        x = (columns + v * dilation + 1).clamp(0, padded.shape[-1] - 1)
        out = out + weight[:, group, u, v] * padded[:, :, y[:, None], x]
    return out if bias is None else out + bias[:, None, None]


def window_starts(
    outputs: int,
    size: int,
    k: int,
    stride: int,
    padding: int,
    dilation: int,
    border: str,
) -> Tensor:
    """Where on an axis of ``size`` places the window of each output begins.

    With ``border='clamp'`` a window that leaves the map is moved inside by as few
    multiples of the dilation as suffice.
    """
    first = torch.arange(outputs) * stride - padding
    if border == 'clamp':
        first = torch.where(first < 0, first % dilation, first)
        over = (first + dilation * (k - 1) - (size - 1)).clamp(min=0)
        first = first - (over + dilation - 1) // dilation * dilation
    return first


def causal_conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, *, groups: int = 1
) -> Tensor:
    """Definition of :func:`smpconv_mm.ops.causal_conv1d`, sample by sample."""
    taps = weight.shape[-1]
    out = []
    for t in range(input.shape[-1]):
        first = max(0, t - taps + 1)
        seen = input[..., first : t + 1]
        out.append(_products(seen, weight[..., taps - seen.shape[-1] :], groups))
    out = torch.stack(out, dim=-1)
    return out if bias is None else out + bias[:, None]


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | tuple = 1,
    padding: int | tuple | str = 0,
    dilation: int | tuple = 1,
    groups: int = 1,
) -> Tensor:
    """Definition of :func:`smpconv_mm.ops.conv2d`, place by place."""
    stride, dilation = (
        n if isinstance(n, tuple) else (n, n) for n in (stride, dilation)
    )
    reach = [d * (k - 1) for k, d in zip(weight.shape[2:], dilation)]
    if padding == 'same':
        sides = [(n // 2, n - n // 2) for n in reach]
    else:
        padding = 0 if padding == 'valid' else padding
        padding = padding if isinstance(padding, tuple) else (padding, padding)
        sides = [(n, n) for n in padding]
    input = torch.nn.functional.pad(input, (*sides[1], *sides[0]))
    height, width = (
        (n - r - 1) // s + 1 for n, r, s in zip(input.shape[2:], reach, stride)
    )
    out = []
    for i, j in product(range(height), range(width)):
        rows = slice(i * stride[0], i * stride[0] + reach[0] + 1, dilation[0])
        columns = slice(j * stride[1], j * stride[1] + reach[1] + 1, dilation[1])
        out.append(_products(input[..., rows, columns], weight, groups))
    out = torch.stack(out, dim=-1).unflatten(-1, (height, width))
    return out if bias is None else out + bias[:, None, None]


def _products(seen: Tensor, weight: Tensor, groups: int) -> Tensor:
    """(N, C_out): each kernel times what it sees, (N, C_in, *taps)."""
    seen = seen.unflatten(1, (groups, -1)).flatten(2)
    weight = weight.unflatten(0, (groups, -1)).flatten(2)
    return torch.einsum('ngi,goi->ngo', seen, weight).flatten(1)


def smp_kernel(
    coord: Tensor, radius: Tensor, weight: Tensor, size, *, normalize: bool = False
) -> Tensor:
    """Definition of :func:`smpconv_mm.ops.smp_kernel`, place by place."""
    dims = len(size)
    axes = [grid_axis(n).to(coord) for n in size]
    places = []
    for index in product(*(range(n) for n in size)):
        # component 0 runs along the last axis, 1 up the rows, 2 along depth
        x = [axes[dims - 1 - j][index[dims - 1 - j]] for j in range(dims)]
        if dims >= 2:
            x[1] = axes[dims - 2][size[dims - 2] - 1 - index[dims - 2]]
        distance = sum((coord[:, :, j] - x[j]).abs() for j in range(dims))
        hat = (1 - distance / radius).clamp(min=0)  # (G, P)
        value = (weight * hat[:, None]).sum(-1)  # (G, I)
        if normalize:
            value = value / ((hat != 0).sum(-1, keepdim=True).to(hat) + 1e-6)
        places.append(value)
    return torch.stack(places, dim=-1).reshape(*weight.shape[:2], *size)


def grid_axis(n: int) -> Tensor:
    """The ``n`` sampling places on [-1, 1], ends included; 0 for ``n = 1``.

    Made in float32 on the CPU whatever the caller's dtype and device: half an
    ulp of the grid over a radius of 0.002 is a 3e-5 change of a hat, and one
    kernel must be the same everywhere.
    """
    if n == 1:
        return torch.zeros(1)
    return torch.linspace(-1, 1, n, dtype=torch.float32)
