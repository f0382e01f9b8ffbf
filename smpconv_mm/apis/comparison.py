"""Kernels and networks compared on one data set: training, cost, fields."""

from __future__ import annotations

import copy
import inspect
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, median, stdev

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import find_latest_checkpoint
from torch import Tensor, nn

from smpconv_mm.checkpoint import atomic_path
from smpconv_mm.compat.mmengine import index_folder
from smpconv_mm.engine.config import check_data, load_config
from smpconv_mm.engine.own_images import use_images
from smpconv_mm.engine.runner import build_model, build_runner
from smpconv_mm.errors import UsageError
from smpconv_mm.registry import MODELS
from smpconv_mm.visualization import erf, read_scalars

from . import complexity
from .ablation import Run, compare
from .benchmark import environment
from .inputs import images_for, input_size
from .network_benchmark import Contender
from .network_benchmark import compare as compare_speed

KERNELS = dict(
    dense='DenseKernel',
    smp='SMPKernel',
    ck='CKKernel',
    flex='FlexKernel',
    oriented='OrientedKernel',
    dcls='DCLSKernel',
)
"""Names of kernels for the command line, and their registered classes."""

# rules of the optimiser for the parameters of a kernel: a base config and its variable
_RULES = dict(smp='smp_rules', flex='flex_rules', dcls='dcls_rules')


def contenders_of(
    configs: Sequence[str],
    kernels: Sequence[str] = (),
    options: dict | None = None,
    data: str | None = None,
    work_dir: str | Path = '.',
) -> dict[str, Config]:
    """The configs that are compared, by name.

    Args:
        configs (Sequence[str]): Config files, or ``'package::folder/name.py'``.
        kernels (Sequence[str]): Keys of :data:`KERNELS`; each is put into the backbone
            of every config. Defaults to (): the configs as they are.
        options (dict, optional): Changes to all configs.
        data (str, optional): Folder of images, see
            ``smpconv_mm.engine.own_images.use_images``.
        work_dir (str | Path): Where lists of the images are written.

    Raises:
        UsageError: If there are fewer than two contenders, a kernel is unknown, or a
            backbone does not take kernels.
    """
    unknown = [name for name in kernels if name not in KERNELS]
    if unknown:
        raise UsageError(f'kernels {unknown} are unknown; there are {list(KERNELS)}')
    found: dict[str, Config] = {}
    for path in configs:
        cfg = load_config(path, options)
        cfg.work_dir = str(work_dir)
        if data:
            use_images(cfg, data)
        stem = Path(path.rpartition('::')[2]).stem
        if not kernels:
            found[stem] = cfg
        for name in kernels:
            title = name if len(configs) == 1 else f'{stem}-{name}'
            found[title] = _with_kernel(cfg, name, path)
    if len(found) < 2:
        raise UsageError(
            'a comparison needs two contenders or more: name several configs, or '
            f'--kernels, some of {",".join(KERNELS)}'
        )
    for cfg in found.values():
        check_data(cfg, ('train', 'val'))
    return found


def _with_kernel(cfg: Config, name: str, path: str) -> Config:
    cfg = copy.deepcopy(cfg)
    backbone = cfg.model.backbone
    kind = MODELS.get(backbone.type)
    if 'kernel_cfg' not in inspect.signature(kind.__init__).parameters:
        raise UsageError(
            f'{path}: the backbone {backbone.type} takes no kernels (kernel_cfg); '
            'SMPNet, SMPTCN and SMPResNet do. Leave out --kernels to compare whole '
            'configs'
        )
    backbone.kernel_cfg = dict(type=KERNELS[name])
    if name in _RULES:
        folder = index_folder() / 'configs/_base_/schedules'
        rules = Config.fromfile(folder / f'{_RULES[name]}.py')[_RULES[name]]
        settings = cfg.optim_wrapper.setdefault('paramwise_cfg', {})
        settings.setdefault('custom_keys', {}).update(rules.get('custom_keys', rules))
    return cfg


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
            total += _seconds_of_an_epoch(cfg, Path(work_dir, 'trial'))
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


def _seconds_of_an_epoch(cfg: Config, folder: Path) -> float:
    cfg = copy.deepcopy(cfg)
    cfg.work_dir, cfg.log_level, cfg.experiment_name = str(folder), 'WARNING', 'trial'
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    start = time.perf_counter()
    try:
        build_runner(cfg).train()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return time.perf_counter() - start


def _shorten(cfg: Config, ratio: float) -> None:
    """Shorten each part of a schedule; warm-ups have one epoch at least."""
    schedulers = cfg.get('param_scheduler') or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        if not scheduler.get('by_epoch', True):
            continue
        for key in ('begin', 'end', 'T_max'):
            if scheduler.get(key):
                scheduler[key] = max(1, round(scheduler[key] * ratio))
        if scheduler.get('milestones'):
            scheduler.milestones = [
                max(1, round(m * ratio)) for m in scheduler.milestones
            ]


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
    metric, rows = compare(runs, metric)
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


HEADINGS = (
    'contender',
    'metric',
    'to the first',
    'params, M',
    'GMACs',
    'training step, ms',
    'latency, ms',
    'memory, MiB',
    'field (50 %)',
)


def cells(result: Result) -> list[str]:
    """A result as text, in the order of :data:`HEADINGS`."""
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
    headings = [metric if h == 'metric' else h for h in HEADINGS]
    lines = [f'| {" | ".join(headings)} |', '| --- ' * len(headings) + '|']
    lines += [f'| {" | ".join(cells(result))} |' for result in results]
    with atomic_path(Path(work_dir, 'compare.md')) as path:
        path.write_text('\n'.join(lines) + '\n')
