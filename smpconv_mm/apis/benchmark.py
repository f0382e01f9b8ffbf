"""Timing shared by the benchmarks: needs torch alone."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch


def network_options(description: str) -> argparse.ArgumentParser:
    """Options of a benchmark of a network."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument('--arch', default='tiny', help='tiny or base')
    parser.add_argument('--batch', type=int, help='default: 8 on the CPU, 64 on a GPU')
    parser.add_argument('--size', type=int, default=224, help='side of the image')
    parser.add_argument('--threads', type=int, default=2, help='of the CPU')
    parser.add_argument('--json', help='write the results here')
    return parser


def measure(function: Callable[[], object], device: str, seconds: float = 1.0) -> float:
    """Median time of one call, in milliseconds.

    Repeats for about ``seconds`` (at least three times) after a warm-up. On a
    GPU each call is timed by events, after its caches were overwritten and behind
    other work, so that the time it takes to queue the call is not counted.
    """
    function()
    if device == 'cpu':
        return _cpu(function, seconds)
    flush = torch.empty(256 * 2**20, dtype=torch.uint8, device=device)
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < stop:
        flush.zero_()
        torch.cuda._sleep(1_000_000)  # cycles: about half a millisecond
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        function()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def _cpu(function: Callable[[], object], seconds: float) -> float:
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < stop:
        start = time.perf_counter()
        function()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def environment(device: str) -> dict:
    """Where a measurement was made."""
    commit = subprocess.run(
        ['git', 'describe', '--always', '--dirty'],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    ).stdout.strip()
    found = dict(
        torch=torch.__version__, commit=commit, threads=torch.get_num_threads()
    )
    if device == 'cpu':
        cpuinfo = Path('/proc/cpuinfo')
        lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
        names = [line.split(':')[1].strip() for line in lines if 'model name' in line]
        return dict(found, device=names[0] if names else platform.processor())
    driver = subprocess.run(
        ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader'],
        capture_output=True,
        text=True,
    ).stdout.split('\n')[0]
    return dict(
        found,
        device=torch.cuda.get_device_name(),
        driver=driver,
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version(),
    )


def table(rows: list[dict]) -> str:
    """Rows of equal keys as aligned text."""
    names = list(rows[0])
    cells = [names] + [
        [f'{v:.2f}' if isinstance(v, float) else str(v) for v in row.values()]
        for row in rows
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    return '\n'.join(
        '  '.join(cell.rjust(width) for cell, width in zip(row, widths))
        for row in cells
    )


def write(path: str | None, device: str, rows: list[dict]) -> None:
    """Write rows and environment as JSON, if a path is given."""
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dict(environment=environment(device), rows=rows), indent=1)
        Path(path).write_text(text + '\n')
