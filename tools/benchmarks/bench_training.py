"""Memory and time of a training step of SMPNet, by option of training at scale.

Each row is measured in processes of its own: the median time of a step in
milliseconds, and the peak of memory during steps above that before the network was
made, in MiB of each process. On a CPU the time is that of the processor, summed over
threads and processes, which other programs on the machine hardly change. Rows named
"2 x" are two processes that share the threads and the images of a step.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.nn.parallel import DistributedDataParallel

from smpconv_mm.apis.benchmark import (
    finish,
    forget_peak,
    memory,
    options,
    run,
    start,
)
from smpconv_mm.models import SMPNet
from smpconv_mm.models.backbones.smpnet import ConvFFN, SMPBlock

# what a row does to the plain step
ROWS: dict[str, set[str]] = {
    'float32': set(),
    'accumulate 2': {'accumulate'},
    'with_cp': {'with_cp'},
    'bfloat16': {'bfloat16'},
    'bfloat16, with_cp': {'bfloat16', 'with_cp'},
    'channels_last': {'channels_last'},
    'compile': {'compile'},
    '2 x DDP': {'ddp'},
    '2 x FSDP': {'fsdp'},
    '2 x FSDP, with_cp': {'fsdp', 'with_cp'},
}


def wrap(model: nn.Module, options: set[str], device: str) -> nn.Module:
    """Compile or distribute the model."""
    if 'ddp' in options:
        return DistributedDataParallel(model, broadcast_buffers=False)
    if 'fsdp' in options:
        return FullyShardedDataParallel(
            model,
            auto_wrap_policy=ModuleWrapPolicy({SMPBlock, ConvFFN}),
            use_orig_params=True,
            device_id=torch.device(device),
        )
    if 'compile' in options:
        return torch.compile(model, fullgraph=True)
    return model


def contend(args: argparse.Namespace) -> dict:
    """Measure one row in this process, or in this one of two."""
    options = ROWS[args.row]
    world = int(os.environ.get('WORLD_SIZE', 1))
    device = args.device
    torch.set_num_threads(max(1, args.threads // world))
    if world > 1:
        if device == 'cuda':
            device = f'cuda:{os.environ["LOCAL_RANK"]}'
            torch.cuda.set_device(device)
        dist.init_process_group('gloo' if device == 'cpu' else 'nccl')
    before = memory(args.device)
    torch.manual_seed(0)
    model = SMPNet(args.arch, with_cp='with_cp' in options).to(device)
    if 'channels_last' in options:
        model.to(memory_format=torch.channels_last)
    model = wrap(model, options, device)
    optimizer = torch.optim.AdamW(model.parameters())
    parts = 2 if 'accumulate' in options else 1
    images = torch.randn(args.batch // world, 3, args.size, args.size, device=device)
    autocast = nullcontext()
    if 'bfloat16' in options:
        autocast = torch.autocast(args.device, torch.bfloat16)

    def step() -> None:
        for part in images.chunk(parts):
            with autocast:
                loss = model(part)[-1].float().square().mean() / parts
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    clock = time.process_time if args.device == 'cpu' else time.perf_counter

    def seconds() -> float:
        start = clock()
        step()
        if args.device == 'cuda':
            torch.cuda.synchronize()
        return clock() - start

    first = seconds()
    seconds()
    forget_peak(args.device)
    times = [seconds() for _ in range(args.steps)]
    row = {
        'ms': 1e3 * statistics.median(times) * (world if device == 'cpu' else 1),
        'MiB': memory(args.device, peak=True) - before,
        'first step s': first,
    }
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()
    return row


def in_processes(args: argparse.Namespace, row: str) -> dict | None:
    """Measure a row in a process of its own, or in two."""
    command = [sys.executable]
    if ROWS[row] & {'ddp', 'fsdp'}:
        if args.device == 'cuda' and torch.cuda.device_count() < 2:
            return None
        command += ['-m', 'torch.distributed.run', '--standalone']
        command += ['--local-addr=127.0.0.1', '--nproc_per_node=2']
    command += [__file__, '--row', row]
    for key in ('device', 'arch', 'batch', 'size', 'threads', 'steps'):
        command += [f'--{key}', str(getattr(args, key))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__, 'arch', 'batch', 'size', rounds=1)
    parser.add_argument('--steps', type=int, default=5, help='measured steps')
    parser.add_argument('--row', choices=ROWS, help='measure this row only')
    args = start(parser, argv)
    if args.row:
        row = contend(args)
        if int(os.environ.get('RANK', 0)) == 0:
            print(json.dumps(row), flush=True)
        return
    rows = run(
        {f'SMPNet {args.arch}, batch {args.batch}': args},
        {name: name for name in ROWS},
        in_processes,
        ratios=('ms', 'MiB'),
    )
    finish(rows, args)


if __name__ == '__main__':
    main()
