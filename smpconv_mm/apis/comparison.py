"""Kernels and networks compared on one data set: training, cost, fields."""

from __future__ import annotations

import copy
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from statistics import mean, median, stdev

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import find_latest_checkpoint
from rich.progress import Progress
from torch import Tensor, nn

from smpconv_mm.checkpoint import atomic_path
from smpconv_mm.engine.runner import build_model, build_runner
from smpconv_mm.errors import UsageError
from smpconv_mm.visualization import (
    draw_kernels_of,
    draw_learning,
    draw_tradeoffs,
    erf,
    read_scalars,
    save_figure,
)

from . import complexity
from .ablation import Run, train_all
from .ablation import compare as compare_runs
from .benchmark import environment
from .inputs import images_for, input_size
from .network_benchmark import Contender
from .network_benchmark import compare as compare_speed
from .report import write_report


def compare(
    configs: Mapping[str, Config],
    work_dir: str | Path,
    seeds: int = 3,
    budget: float | None = None,
    metric: str | None = None,
    device: str = 'cpu',
    progress: Progress | None = None,
) -> tuple[str, list[Result]]:
    """Train contenders on the same data, measure them, and write tables and figures.

    Finished trainings are not repeated; interrupted ones go on where they stopped.

    Args:
        configs (Mapping[str, Config]): By name, of :func:`~.contenders.contenders_of`;
            changed in place by a budget.
        work_dir (str | Path): For ``compare.json``, ``compare.md``, ``report.html``,
            figures, and a folder for each contender.
        seeds (int): Trainings of each. Defaults to 3.
        budget (float, optional): Seconds for all trainings, see :func:`fit_budget`.
            Defaults to None: the schedules of the configs.
        metric (str, optional): Defaults to None: the first one that is measured.
        device (str): For latencies. Defaults to ``'cpu'``.
        progress (Progress, optional): A display of rich. Defaults to None.

    Returns:
        tuple[str, list[Result]]: The metric, and a result for each contender.
    """
    progress = progress or Progress(disable=True)
    work_dir = Path(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    if budget:
        trial = progress.add_task('time an epoch', total=len(configs))
        epochs = fit_budget(
            configs, seeds, budget, work_dir, lambda name: progress.advance(trial)
        )
        progress.update(trial, completed=len(configs))
        progress.console.print(f'each training has {epochs} epochs')
    whole = progress.add_task('train', total=len(configs) * seeds)
    now = progress.add_task('', total=None)

    def report(name: str, seed: int, done: int, epochs: int) -> None:
        text = f'{name}, seed {seed}'
        progress.update(now, description=text, completed=done, total=epochs)

    runs = []
    for run in train_all(configs, range(seeds), work_dir, report):
        runs.append(run)
        progress.advance(whole)
    progress.update(now, description='measure', completed=0, total=1 + len(configs))
    metric, results, models, fields = measure_all(
        configs, runs, work_dir, metric, device, lambda what: progress.advance(now)
    )
    progress.update(now, completed=1 + len(configs))
    write_results(metric, results, work_dir, device)
    rows = [vars(result) for result in results]
    figures = {
        'tradeoffs': (f'{metric} against cost', draw_tradeoffs(rows, metric)),
        'learning': ('Learning curves', draw_learning(rows, metric)),
        'kernels': ('Kernels of the first layer', draw_kernels_of(models)),
        'fields': ('Receptive fields', erf.draw_fields(fields) if fields else None),
    }
    pictures = {
        title: save_figure(figure, work_dir / f'{name}.png')
        for name, (title, figure) in figures.items()
        if figure is not None
    }
    write_report(
        work_dir / 'report.html',
        f'Comparison of {", ".join(configs)}',
        [
            f'{seeds} trainings of each contender. Means and deviations over seeds; '
            'differences to the first contender are of pairs with the same seed, with '
            'their standard error.',
        ],
        headings(metric),
        [cells(result) for result in results],
        pictures,
        environment(device),
    )
    return metric, results


def fit_budget(
    configs: Mapping[str, Config],
    seeds: int,
    seconds: float,
    work_dir: str | Path,
    report: Callable[[str], object] = lambda name: None,
) -> int:
    """Shorten all trainings, so that together they take a given time.

    An epoch of each contender is timed. All get the same number of epochs, and their
    schedules are shortened with it. The number is kept in ``plan.json``, so that an
    interrupted comparison goes on with it.

    Args:
        configs (Mapping[str, Config]): Changed in place.
        seeds (int): Trainings of each.
        seconds (float): The time.
        work_dir (str | Path): Of the comparison.
        report (Callable): Called with the name of each contender before it is timed.

    Returns:
        int: Epochs of each training.

    Raises:
        UsageError: If not even one epoch fits, or a training is not in epochs.
    """
    longest = {}
    for name, cfg in configs.items():
        if 'max_epochs' not in cfg.train_cfg:
            raise UsageError(f'--budget: the training of {name} is not in epochs')
        longest[name] = cfg.train_cfg.max_epochs
    plan = Path(work_dir, 'plan.json')
    if plan.is_file():
        epochs = json.loads(plan.read_text())['epochs']
    else:
        start, total = time.perf_counter(), 0.0
        for name, cfg in configs.items():
            report(name)
            total += _seconds_of_an_epoch(name, cfg, Path(work_dir, 'trial'))
        left = seconds - (time.perf_counter() - start)
        epochs = int(left / (total * seeds))
        if epochs < 1:
            raise UsageError(
                f'--budget: {seeds} trainings of {len(configs)} contenders need '
                f'{total * seeds:.0f} s an epoch, and {max(left, 0):.0f} s are left; '
                'give more time, fewer seeds or fewer contenders'
            )
        epochs = min(epochs, min(longest.values()))
        with atomic_path(plan) as path:
            path.write_text(json.dumps(dict(epochs=epochs, seconds_an_epoch=total)))
    for name, cfg in configs.items():
        _shorten(cfg, epochs / longest[name])
        cfg.train_cfg.max_epochs = epochs
    return epochs


def _seconds_of_an_epoch(name: str, cfg: Config, folder: Path) -> float:
    cfg = copy.deepcopy(cfg)
    cfg.work_dir, cfg.log_level = str(folder), 'WARNING'
    # MMEngine tells runs of one second apart by their names alone
    cfg.experiment_name = f'trial-{name}'
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    start = time.perf_counter()
    try:
        build_runner(cfg).train()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return time.perf_counter() - start


def _shorten(cfg: Config, ratio: float) -> None:
    """Shorten each part of a schedule; warm-ups have one epoch at least.

    Parts that no epoch is left for are dropped.
    """
    schedulers = cfg.get('param_scheduler') or []
    kept = []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        if scheduler.get('by_epoch', True):
            for key in ('begin', 'end', 'T_max'):
                if scheduler.get(key):
                    scheduler[key] = max(1, round(scheduler[key] * ratio))
            if scheduler.get('milestones'):
                scheduler.milestones = [
                    max(1, round(m * ratio)) for m in scheduler.milestones
                ]
            if scheduler.get('begin', 0) >= scheduler.get('end', inf):
                continue
        kept.append(scheduler)
    if schedulers:
        cfg.param_scheduler = kept


@dataclass
class Result:
    """What was measured of a contender.

    Attributes:
        name (str): Its name.
        config (str): File of its config.
        values (list[float]): The metric, one per seed.
        mean, std (float): Of the values.
        difference, error (float): Mean difference to the first contender with the same
            seed, and its standard error.
        parameters, macs (int): Of the training form; multiply-adds of one input.
        step_ms (float): Median time of an iteration of the training, with its data.
        ms (float): Latency of one input, in deploy form.
        peak_mib (float, optional): Memory that takes, where the system tells.
        areas (dict[str, float | None]): Share of the input that holds 20, 30, 50 and
            99 % of the receptive field; empty for sequences, and where nothing
            reaches the centre.
        curve (list): Epoch, mean over seeds and their deviation of the metric.
    """

    name: str
    config: str
    values: list[float]
    mean: float
    std: float
    difference: float
    error: float
    parameters: int
    macs: int
    step_ms: float
    ms: float
    peak_mib: float | None
    areas: dict[str, float | None] = field(default_factory=dict)
    curve: list[tuple[float, float, float]] = field(default_factory=list)


def measure_all(
    configs: Mapping[str, Config],
    runs: Sequence[Run],
    work_dir: str | Path,
    metric: str | None = None,
    device: str = 'cpu',
    report: Callable[[str], object] = lambda what: None,
) -> tuple[str, list[Result], dict[str, nn.Module], dict[str, Tensor]]:
    """Measure trained contenders.

    Args:
        configs (Mapping[str, Config]): Of the contenders.
        runs (Sequence[Run]): Their trainings, by
            ``smpconv_mm.apis.ablation.train_all`` in ``work_dir``.
        work_dir (str | Path): Of the comparison.
        metric (str, optional): Defaults to None: the first one that was measured.
        device (str): For latencies. Defaults to ``'cpu'``.
        report (Callable): Called with what is done next.

    Returns:
        tuple: The metric; results in the order of the contenders; trained networks of
        the first seed; receptive fields, of images only.
    """
    metric, rows = compare_runs(runs, metric)
    files, models, fields = {}, {}, {}
    for name, cfg in configs.items():
        files[name] = Path(work_dir, name, 'config.py')
        files[name].parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(files[name]) as path:
            cfg.dump(path)
        folder = Path(work_dir, name, f'seed_{runs[0].seed}')
        models[name] = build_model(cfg, find_latest_checkpoint(str(folder))).eval()
    first = next(iter(models.values()))
    ndim = getattr(first.backbone, 'ndim', 2)
    shape, _ = input_size(next(iter(configs.values())), ndim)
    report('speed')
    speed = compare_speed(
        [Contender(str(path), frozenset({'deploy'})) for path in files.values()],
        batches=(1,),
        shape=shape,
        device=device,
        rounds=3,
        seconds=0.3,
    )
    results = []
    for row, timed in zip(rows, speed):
        model, cfg = models[row.variant], configs[row.variant]
        report(row.variant)
        channels = getattr(model.backbone, 'in_channels', 3)
        cost = complexity.measure(model, (channels, *shape))
        areas = []
        if ndim == 2:
            images, _ = images_for(cfg, 50, max(shape))
            try:
                fields[row.variant] = erf.receptive_field(model.backbone, images)
                areas = erf.area_ratios(fields[row.variant])
            except UsageError as error:  # e.g. hardly trained
                logger = MMLogger.get_current_instance()
                logger.warning('%s has no receptive field: %s', row.variant, error)
        scalars = [
            read_scalars(Path(work_dir, row.variant, f'seed_{run.seed}'))
            for run in runs
            if run.variant == row.variant
        ]
        steps = [t for s in scalars for _, t in s.get('time', [])]
        results.append(
            Result(
                name=row.variant,
                config=str(files[row.variant]),
                **{k: v for k, v in asdict(row).items() if k != 'variant'},
                parameters=cost.parameters,
                macs=cost.total,
                step_ms=1e3 * median(steps) if steps else float('nan'),
                ms=timed['ms'],
                peak_mib=timed['peak_mib'],
                areas={f'{area.threshold:.0%}': area.ratio for area in areas},
                curve=_curve([s.get(metric, []) for s in scalars]),
            )
        )
    return metric, results, models, fields


def _curve(histories: Sequence[Sequence[tuple[float, float]]]) -> list:
    """Epoch, mean and deviation, where all seeds have a value."""
    tables = [dict(history) for history in histories]
    epochs = sorted(set.intersection(*map(set, tables)))
    curve = []
    for epoch in epochs:
        values = [table[epoch] for table in tables]
        spread = stdev(values) if len(values) > 1 else 0.0
        curve.append((epoch, mean(values), spread))
    return curve


def headings(metric: str) -> list[str]:
    """What the columns of the table are."""
    return [
        'contender',
        metric,
        'to the first',
        'params, M',
        'GMACs',
        'training step, ms',
        'latency, ms',
        'memory, MiB',
        'field (50 %)',
    ]


def cells(result: Result) -> list[str]:
    """A result as text, in the order of :func:`headings`."""
    area = result.areas.get('50%')
    return [
        result.name,
        f'{result.mean:.2f} ± {result.std:.2f}',
        f'{result.difference:+.2f} ± {result.error:.2f}',
        f'{result.parameters / 1e6:.3g}',
        f'{result.macs / 1e9:.3g}',
        f'{result.step_ms:.1f}',
        f'{result.ms:.2f}',
        '' if result.peak_mib is None else f'{result.peak_mib:.1f}',
        '' if area is None else f'{area:.1%}',
    ]


def write_results(
    metric: str, results: Sequence[Result], work_dir: str | Path, device: str
) -> None:
    """Write ``compare.json`` and ``compare.md``."""
    table = dict(
        metric=metric,
        environment=environment(device),
        contenders=[asdict(result) for result in results],
    )
    with atomic_path(Path(work_dir, 'compare.json')) as path:
        path.write_text(json.dumps(table, indent=1))
    titles = headings(metric)
    lines = [f'| {" | ".join(titles)} |', '| --- ' * len(titles) + '|']
    lines += [f'| {" | ".join(cells(result))} |' for result in results]
    with atomic_path(Path(work_dir, 'compare.md')) as path:
        path.write_text('\n'.join(lines) + '\n')
