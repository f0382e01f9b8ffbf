"""Large depthwise convolutions: ours against torch's, all in one run.

Times are medians in milliseconds; "x" is how many times faster ours is than
F.conv2d on contiguous (NCHW) maps, which is how other packages call it.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
import torch.nn.functional as F

from smpconv_mm.apis.benchmark import environment, measure, table, write
from smpconv_mm.ops import depthwise_conv2d

# channels, side of the map, side of the kernel: the stages of SMPNet-T
STAGES = [(96, 56, 31), (192, 28, 29), (384, 14, 27), (768, 7, 13)]


def contenders(device: str):
    """Name, convolution, memory format of the maps."""

    def conv2d(x, w):
        return F.conv2d(x, w, padding=w.shape[-1] // 2, groups=len(w))

    ours = torch.channels_last if device == 'cpu' else torch.contiguous_format
    found = {
        'ours': (depthwise_conv2d, ours),
        'nchw': (conv2d, torch.contiguous_format),
        'channels_last': (conv2d, torch.channels_last),
    }
    if device != 'cpu':
        found['matmul by rows'] = (matmul_by_rows, torch.contiguous_format)
        found['matmul by maps'] = (matmul_by_maps, torch.contiguous_format)
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
    if h * w > 1024:
        return None  # gigabytes
    bands = toeplitz(toeplitz(weight[:, 0].transpose(1, 2), h).permute(0, 2, 3, 1), w)
    dense = bands.permute(0, 1, 3, 2, 4).reshape(c, h * w, h * w)
    x = x.permute(1, 0, 2, 3).reshape(c, n, h * w)
    return torch.bmm(x, dense).view(c, n, h, w).permute(1, 0, 2, 3).contiguous()


def passes(conv, x, weight, seconds):
    """Time of forward, input gradient, weight gradient, and all together."""
    device = x.device.type
    with torch.no_grad():
        grad = torch.randn_like(conv(x, weight))
        times = dict(forward=measure(lambda: conv(x, weight), device, seconds))
    for name, wanted in dict(dx=[x], dw=[weight]).items():
        for tensor in (x, weight):
            tensor.requires_grad_(tensor is wanted[0])
        out = conv(x, weight)
        times[name] = measure(
            partial(torch.autograd.grad, out, wanted, grad, retain_graph=True),
            device,
            seconds,
        )
    x.requires_grad_()
    weight.requires_grad_()

    def step():
        torch.autograd.grad(conv(x, weight), [x, weight], grad)

    return dict(times, step=measure(step, device, seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument('--dtype', default=None, help='float32, bfloat16, float16')
    parser.add_argument('--batch', type=int, help='default: 8 on the CPU, 64 on a GPU')
    parser.add_argument('--threads', type=int, default=2, help='of the CPU')
    parser.add_argument('--seconds', type=float, default=1.0, help='per measurement')
    parser.add_argument('--json', help='write the results here')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = True
    dtype = getattr(
        torch, args.dtype or ('float32' if args.device == 'cpu' else 'bfloat16')
    )
    batch = args.batch or (8 if args.device == 'cpu' else 64)

    print(environment(args.device), dtype, f'batch {batch}')
    rows = []
    shapes = [*STAGES, (96, 56, 63)]
    for channels, side, k in shapes:
        for name, (conv, layout) in contenders(args.device).items():
            make = dict(device=args.device, dtype=dtype)
            x = torch.randn(batch, channels, side, side, **make)
            weight = torch.randn(channels, 1, k, k, **make) / k
            x = x.contiguous(memory_format=layout)
            if conv(x[:1], weight) is None:
                continue
            shape = f'{channels}x{side}x{side} K{k}'
            times = passes(conv, x, weight, args.seconds)
            rows.append(dict(shape=shape, contender=name, **times))
            print(table(rows).splitlines()[-1], flush=True)
    by = {(row['shape'], row['contender']): row for row in rows}
    for row in rows:
        base = by[row['shape'], 'nchw']
        for key in ('forward', 'dx', 'dw', 'step'):
            row[f'{key} x'] = base[key] / row[key]
    print('\n' + table(rows))
    small, large = (by[f'96x56x56 K{k}', 'ours']['step'] for k in (31, 63))
    print(f'\nours at 56x56: K 63 takes {large / small:.2f} times as long as K 31')
    write(args.json, args.device, rows)


if __name__ == '__main__':
    main()
