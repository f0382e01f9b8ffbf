"""Large depthwise convolutions: ours against torch's, all in one run.

Times are medians in milliseconds; "x" is how many times faster ours is than
F.conv2d on contiguous (NCHW) maps, which is how other packages call it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from smpconv_mm.apis.benchmark import finish, options, passes, run, settings, start
from smpconv_mm.ops import depthwise_conv2d

# channels, side of the map, side of the kernel: the stages of SMPNet-T, and a kernel
# that reaches over the whole map from each place
SHAPES = [(96, 56, 31), (192, 28, 29), (384, 14, 27), (768, 7, 13), (96, 56, 63)]


def conv2d(x, w):
    return F.conv2d(x, w, padding=w.shape[-1] // 2, groups=len(w))


def contenders(device: str) -> dict:
    """Convolution, and memory format of the maps."""
    nchw, nhwc = torch.contiguous_format, torch.channels_last
    found = {
        'ours': (depthwise_conv2d, nhwc if device == 'cpu' else nchw),
        'nchw': (conv2d, nchw),
        'channels_last': (conv2d, nhwc),
    }
    if device != 'cpu':
        found['matmul by rows'] = (matmul_by_rows, nchw)
        found['matmul by maps'] = (matmul_by_maps, nchw)
    return found


def toeplitz(rows, out_size):
    """(..., K) to (..., in, out): entry (q, j) is tap q - j + K // 2, or 0."""
    k = rows.shape[-1]
    places = torch.arange(out_size, device=rows.device)
    taps = places[:, None] - places + k // 2
    inside = (taps >= 0) & (taps < k)
    return rows[..., taps.clamp(0, k - 1)] * inside


def matmul_by_rows(x, weight):
    """A banded matrix for each row of the kernel, one batched product a row."""
    n, c, h, w = x.shape
    k, half = weight.shape[-2], weight.shape[-2] // 2
    bands = toeplitz(weight[:, 0], w)  # C, K, W, W
    x = x.permute(1, 2, 0, 3).reshape(c, h * n, w)
    out = torch.zeros_like(x)
    for u in range(max(0, half - h + 1), min(k, half + h)):
        first, last = max(0, half - u), min(h, h + half - u)  # rows of the output
        source = x[:, (first + u - half) * n : (last + u - half) * n]
        out[:, first * n : last * n].baddbmm_(source, bands[:, u])
    return out.view(c, h, n, w).permute(2, 0, 1, 3).contiguous()


def matmul_by_maps(x, weight):
    """One dense matrix for each channel, from all places to all places."""
    n, c, h, w = x.shape
    bands = toeplitz(toeplitz(weight[:, 0].transpose(1, 2), h).permute(0, 2, 3, 1), w)
    dense = bands.permute(0, 1, 3, 2, 4).reshape(c, h * w, h * w)
    x = x.permute(1, 0, 2, 3).reshape(c, n, h * w)
    return torch.bmm(x, dense).view(c, n, h, w).permute(1, 0, 2, 3).contiguous()


def main(argv: list[str] | None = None) -> None:
    args = start(options(__doc__, 'dtype', 'batch'), argv)
    print(args.dtype, f'batch {args.batch}')

    def prepare(case, contender):
        (channels, side, k), (conv, layout) = case, contender
        if conv is matmul_by_maps and side > 32:
            return None  # gigabytes
        make = dict(device=args.device, dtype=args.dtype)
        x = torch.randn(args.batch, channels, side, side, **make)
        weight = torch.randn(channels, 1, k, k, **make) / k
        return passes(conv, x.contiguous(memory_format=layout), weight)

    rows = run(
        {f'{c}x{side}x{side} K{k}': (c, side, k) for c, side, k in SHAPES},
        contenders(args.device),
        prepare,
        **settings(args),
        base='nchw',
    )
    finish(rows, args)
    ours = {row['case']: row['step'] for row in rows if row['contender'] == 'ours'}
    short, long = (ours.get(f'96x56x56 K{k}') for k in (31, 63))
    if short and long:
        print(f'ours at 56x56: K 63 takes {long / short:.2f} times as long as K 31')


if __name__ == '__main__':
    main()
