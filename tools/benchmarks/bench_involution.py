"""Involution: every backend that runs here, in one run.

Times are medians in milliseconds. "floor" is the least time that moving the arrays
takes (each read or written once) at the speed of a large copy measured here, and "x
floor" how many times as long the pass took. "x unfold" says how many times faster
forward and backward together are than with windows written out (im2col) in torch.
"memory" is the peak in MB of forward and backward beyond input and weight.
"""

from __future__ import annotations

import argparse
import multiprocessing
from functools import partial
from pathlib import Path

import torch

from smpconv_mm.apis.benchmark import environment, measure, table, write
from smpconv_mm.ops import backends, involution

# channels and side of the map of RedNet's stages, groups of 16 channels
STAGES = [(64, 56), (128, 56), (256, 28), (512, 14), (512, 7)]
WIDTH, K = 16, 7


def make(channels: int, side: int, batch: int, dtype: torch.dtype, device: str):
    """Input, weight and gradient of the output, with gradients wanted."""
    make = dict(dtype=dtype, device=device)
    x = torch.randn(batch, channels, side, side, **make)
    weight = torch.randn(batch, channels // WIDTH, K, K, side, side, **make) / K
    return x.requires_grad_(), weight.requires_grad_(), torch.randn_like(x)


def step(backend: str, x, weight, grad) -> None:
    """Forward and backward."""
    torch.autograd.grad(involution(x, weight, backend=backend), [x, weight], grad)


def passes(backend: str, x, weight, grad, seconds: float) -> dict[str, float]:
    """Time of forward, input gradient, weight gradient, and all together."""
    device = x.device.type
    run = partial(involution, backend=backend)
    with torch.no_grad():
        times = dict(forward=measure(lambda: run(x, weight), device, seconds))
    for name, wanted in dict(dx=x, dw=weight).items():
        out = run(*(t if t is wanted else t.detach() for t in (x, weight)))
        times[name] = measure(
            partial(torch.autograd.grad, out, wanted, grad, retain_graph=True),
            device,
            seconds,
        )
        del out
    times['step'] = measure(lambda: step(backend, x, weight, grad), device, seconds)
    return times


def memory(backend: str, channels: int, side: int, args) -> float:
    """Peak of forward and backward in MB, beyond what they are given."""
    dtype = getattr(torch, args.dtype)
    if args.device == 'cuda':
        tensors = make(channels, side, args.batch, dtype, 'cuda')
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step(backend, *tensors)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # the peak of a process only grows: a new process for each
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(_memory_cpu, (backend, channels, side, args.batch, dtype))


def _memory_cpu(backend, channels, side, batch, dtype) -> float:
    def peak():
        status = Path('/proc/self/status').read_text()
        return int(status.split('VmHWM:')[1].split()[0]) / 1024

    step(backend, *make(WIDTH, K, 1, dtype, 'cpu'))  # what loads once
    tensors = make(channels, side, batch, dtype, 'cpu')
    before = peak()
    step(backend, *tensors)
    return peak() - before


def bandwidth(device: str) -> float:
    """Bytes a millisecond that a large copy reads and writes."""
    size = 2**30 if device == 'cuda' else 2**28
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / measure(lambda: target.copy_(source), device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument('--dtype', default='float32', help='float32, bfloat16, float16')
    parser.add_argument('--batch', type=int, help='default: 2 on the CPU, 64 on a GPU')
    parser.add_argument('--threads', type=int, default=2, help='of the CPU')
    parser.add_argument('--backends', nargs='+', help='default: all that run here')
    parser.add_argument('--seconds', type=float, default=1.0, help='per measurement')
    parser.add_argument('--json', help='write the results here')
    args = parser.parse_args()
    args.batch = args.batch or (2 if args.device == 'cpu' else 64)
    torch.set_num_threads(args.threads)
    dtype = getattr(torch, args.dtype)
    speed = bandwidth(args.device)
    print(environment(args.device), f'{args.dtype} batch {args.batch}')
    print(f'a copy moves {speed / 1e6:.0f} GB/s')

    rows = []
    for channels, side in STAGES:
        tensors = make(channels, side, args.batch, dtype, args.device)
        bytes_of = dict(
            zip(('x', 'w', 'y'), (t.numel() * t.element_size() for t in tensors))
        )
        least = sum(bytes_of.values()) / speed  # of each pass: x, weight and output
        times = {}
        for backend in args.backends or backends('involution'):
            try:
                times[backend] = passes(backend, *tensors, args.seconds)
            except (RuntimeError, MemoryError) as error:
                print(f'{channels}x{side}x{side} {backend}: {str(error)[:150]}')
        del tensors
        for backend, row in times.items():
            found = dict(shape=f'{channels}x{side}x{side}', backend=backend, **row)
            found['memory'] = memory(backend, channels, side, args)
            found['floor'] = least
            for name in ('forward', 'dx', 'dw'):
                found[f'{name} x floor'] = row[name] / least
            base = times.get('unfold')
            found['x unfold'] = base['step'] / row['step'] if base else float('nan')
            rows.append(found)
        print(table(rows), '\n', flush=True)
    write(args.json, args.device, rows)


if __name__ == '__main__':
    main()
