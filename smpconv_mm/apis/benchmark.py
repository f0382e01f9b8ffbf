"""Timing and memory, and the runner of all benchmarks: needs torch alone.

A benchmark is a set of cases, a set of contenders and a function that prepares one
of each; :func:`run` makes the rows, :func:`finish` prints and writes them.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

# what a benchmark says; start() sends it to the standard output
logger = logging.getLogger('smpconv_mm.benchmark')

# flags beyond those of every benchmark, by name
_FLAGS: dict[str, dict] = {
    'arch': dict(default='tiny', help='tiny or base'),
    'batch': dict(type=int, help='by default 8 on the CPU, 64 on a GPU'),
    'dtype': dict(help='by default float32 on the CPU, bfloat16 on a GPU'),
    'size': dict(type=int, default=224, help='side of the image'),
}


def options(
    description: str,
    *names: str,
    seconds: float = 1.0,
    rounds: int = 3,
    threads: int | None = 2,
) -> argparse.ArgumentParser:
    """The command line of a benchmark.

    Args:
        description (str): What it measures.
        names (str): Flags that it has besides those of all: some of ``arch``,
            ``batch``, ``dtype`` and ``size``.
        seconds (float): Default of ``--seconds``.
        rounds (int): Default of ``--rounds``.
        threads (int, optional): Default of ``--threads``; None: as torch has it.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    for name in names:
        parser.add_argument(f'--{name}', **_FLAGS[name])
    parser.add_argument('--threads', type=int, default=threads, help='of the CPU')
    parser.add_argument(
        '--seconds', type=float, default=seconds, help='for one measurement'
    )
    parser.add_argument(
        '--rounds',
        type=int,
        default=rounds,
        help='parts of a measurement; in each all contenders take their turn',
    )
    parser.add_argument(
        '--only', nargs='+', default=[], help='cases whose names contain one of these'
    )
    parser.add_argument('--json', help='write the results here')
    return parser


def start(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None = None
) -> argparse.Namespace:
    """Parse the command line, fill in what depends on the device, and set torch up."""
    args = parser.parse_args(argv)
    logger.handlers = [logging.StreamHandler(sys.stdout)]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    on_cpu = args.device == 'cpu'
    if 'batch' in args:
        args.batch = args.batch or (8 if on_cpu else 64)
    if 'dtype' in args:
        args.dtype = getattr(torch, args.dtype or ('float32' if on_cpu else 'bfloat16'))
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = True
    return args


def settings(args: argparse.Namespace) -> dict:
    """What the command line says to :func:`run`."""
    return {key: getattr(args, key) for key in ('device', 'seconds', 'rounds', 'only')}


def measure(function: Callable[[], object], device: str, seconds: float = 1.0) -> float:
    """Median time of one call, in milliseconds.

    Repeats for about ``seconds`` after a warm-up. On a GPU each call is timed by
    events, after its caches were overwritten and behind other work, so that the
    time it takes to queue the call is not counted.
    """
    function()
    if device == 'cpu':
        threads = torch.get_num_threads()
        timer = Timer('f()', globals=dict(f=function), num_threads=threads)
        return 1e3 * timer.blocked_autorange(min_run_time=seconds).median
    flush = torch.empty(256 * 2**20, dtype=torch.uint8, device=device)
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < stop:
        flush.zero_()
        torch.cuda._sleep(1_000_000)  # cycles: about half a millisecond
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        function()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def bandwidth(device: str) -> float:
    """Bytes per millisecond that a large copy on the device reads and writes."""
    source = torch.ones(2**28 if device == 'cpu' else 2**30, dtype=torch.uint8)
    source = source.to(device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / measure(lambda: target.copy_(source), device)


def memory(device: str, peak: bool = False) -> float:
    """MiB that this process uses, or used at most since :func:`forget_peak`.

    On a CPU the resident memory, which Linux alone tells; on a GPU that of its
    tensors.
    """
    if device != 'cpu':
        read = torch.cuda.max_memory_allocated if peak else torch.cuda.memory_allocated
        return read() / 2**20
    status = Path('/proc/self/status').read_text()
    value = status.partition('VmHWM:' if peak else 'VmRSS:')[2].split()[0]
    return int(value) / 1024


def forget_peak(device: str) -> None:
    """Let the peak of :func:`memory` begin anew."""
    if device != 'cpu':
        torch.cuda.reset_peak_memory_stats()
    else:
        Path('/proc/self/clear_refs').write_text('5')


def in_new_process(function: Callable, *args):
    """Call a function in a new process, which has no memory of others to use again."""
    with multiprocessing.get_context('spawn').Pool(
        1, torch.set_num_threads, (torch.get_num_threads(),)
    ) as pool:
        return pool.apply(function, args)


def passes(
    function: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor
) -> dict[str, Callable[[], object]]:
    """The passes of an operation, to be timed: each alone, and all together.

    Args:
        function (Callable): Called with ``x`` and ``weight``.
        x (Tensor): Input.
        weight (Tensor): Weight.

    Returns:
        dict[str, Callable]: ``'forward'``, ``'dx'`` and ``'dw'`` (gradients of
        ``x`` and of ``weight``), and ``'step'``: forward and both gradients.
    """
    x, weight = x.detach(), weight.detach()
    calls: dict[str, Callable] = dict(forward=partial(function, x, weight))
    grad = torch.randn_like(calls['forward']())
    for name, wanted in dict(dx=x, dw=weight).items():
        inputs = [t.clone().requires_grad_() if t is wanted else t for t in (x, weight)]
        differentiated = inputs[name == 'dw']
        calls[name] = partial(
            torch.autograd.grad,
            function(*inputs),
            differentiated,
            grad,
            retain_graph=True,
        )
    both = [t.clone().requires_grad_() for t in (x, weight)]
    calls['step'] = lambda: torch.autograd.grad(function(*both), both, grad)
    return calls


def run(
    cases: Mapping[str, object],
    contenders: Mapping[str, object],
    prepare: Callable[[object, object], dict | None],
    *,
    device: str = 'cpu',
    seconds: float = 1.0,
    rounds: int = 3,
    only: Sequence[str] = (),
    base: str | None = None,
    ratios: Sequence[str] = (),
    report: Callable[[dict], object] | None = None,
) -> list[dict]:
    """Measure every contender in every case.

    All contenders of a case take turns, so that a machine that is slower for a
    while is so for all; a ratio is the median of the ratios of the rounds.

    Args:
        cases (Mapping): Name and content of each case.
        contenders (Mapping): Name and content of each contender.
        prepare (Callable): Called with the contents of a case and of a contender.
            Gives a value for each column: a function is timed, anything else
            stands there as it is. None leaves the contender out of the case.
        device (str): Defaults to ``'cpu'``.
        seconds (float): For one measurement, all rounds together. Defaults to 1.
        rounds (int): Defaults to 3.
        only (Sequence[str]): Leave out the cases whose names contain none of
            these. Defaults to (): all cases.
        base (str, optional): The contender that ratios refer to. Defaults to None:
            the first one.
        ratios (Sequence[str]): Columns that have a ratio besides those timed.
        report (Callable, optional): Called with each row when it is there.
            Defaults to None: prints it.

    Returns:
        list[dict]: A row per case and contender: ``case``, ``contender``, the
        columns (times in ms) and for each time and each of ``ratios`` a column
        ``'NAME x'``: how many times less than that of ``base`` it is.
    """
    base = base or next(iter(contenders))
    rows = []
    for case, content in cases.items():
        if only and not any(part in str(case) for part in only):
            continue
        prepared = {name: prepare(content, c) for name, c in contenders.items()}
        prepared = {name: found for name, found in prepared.items() if found}
        times: dict[tuple[str, str], list[float]] = {}
        for _ in range(rounds):
            for name, found in prepared.items():
                for key, value in found.items():
                    if callable(value):
                        ms = measure(value, device, seconds / rounds)
                        times.setdefault((name, key), []).append(ms)
        for name, found in prepared.items():
            row = dict(case=case, contender=name)
            for key, value in found.items():
                timed = times.get((name, key))
                row[key] = statistics.median(timed) if timed else value
            for key in found:
                if (base, key) in times:
                    pairs = zip(times[base, key], times[name, key])
                    row[f'{key} x'] = statistics.median(a / b for a, b in pairs)
                elif key in ratios and base in prepared:
                    row[f'{key} x'] = prepared[base][key] / found[key]
            rows.append(row)
            (report or _say)(row)
    return rows


def _say(row: dict) -> None:
    columns = (f'{key} {_text(value)}' for key, value in list(row.items())[2:])
    logger.info('%s, %s: %s', row['case'], row['contender'], ', '.join(columns))


def _text(value: object) -> str:
    return f'{value:.2f}' if isinstance(value, float) else str(value)


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


def finish(rows: list[dict], args: argparse.Namespace) -> None:
    """Print rows as a table; with ``--json`` write them and their environment."""
    where = environment(args.device)
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:  # where there is torch alone
        for row in rows:
            logger.info(json.dumps(row))
    else:
        items = [(key, v) for row in rows for key, v in row.items()]
        names = list(dict.fromkeys(k for k, v in items if not isinstance(v, dict)))
        table = Table(*names)
        for row in rows:
            table.add_row(*(_text(row.get(name, '')) for name in names))
        wide = Console(width=1000)  # numbers are never cut
        Console(width=wide.measure(table).maximum).print(table)
    logger.info(', '.join(f'{key} {value}' for key, value in where.items()))
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dict(environment=where, rows=rows), indent=1)
        Path(args.json).write_text(text + '\n')
