"""Train variants of a config with several seeds, and compare them."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean, stdev

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from smpconv_mm.checkpoint import atomic_path
from smpconv_mm.engine.config import check_data, set_resume
from smpconv_mm.engine.runner import build_runner
from smpconv_mm.errors import UsageError


@dataclass
class Run:
    """A finished training.

    Attributes:
        variant (str): Its name.
        seed (int): Seed of all random numbers.
        metrics (dict[str, float]): Those of the last weights on the validation data.
        seconds (float): Training time; of a resumed run that of its last part.
        settings (str): Hash of the whole config.
    """

    variant: str
    seed: int
    metrics: dict[str, float]
    seconds: float
    settings: str


def variants_of(cfg: Config, names: Sequence[str] | None = None) -> dict[str, dict]:
    """Variants that a config lists, or some of them.

    The config has a variable ``ablation`` with a name for each variant and its
    changes to the config, written as for ``--cfg-options``::

        ablation = {
            'published': {},
            'fixed-radii': {'model.backbone.kernel_cfg.learn_radius': False},
        }

    Raises:
        UsageError: If there is none, or a name is unknown.
    """
    variants = cfg.get('ablation')
    if not variants:
        raise UsageError(
            f'{cfg.filename} has no variants; add ablation = '
            "{'name': {'key': value}, ...}, each as for --cfg-options"
        )
    unknown = [name for name in names or [] if name not in variants]
    if unknown:
        raise UsageError(f'variants {unknown} are unknown; there are {list(variants)}')
    return {name: dict(variants[name]) for name in names or variants}


def train_all(
    configs: Mapping[str, Config],
    seeds: Sequence[int],
    work_dir: str | Path,
    report: Callable[[str, int, int, int], object] | None = None,
) -> Iterator[Run]:
    """Train every variant with every seed, one after the other.

    A run that has finished is read, one that was interrupted is resumed.

    Args:
        configs (Mapping[str, Config]): The config of each variant.
        seeds (Sequence[int]): Every variant is trained once with each.
        work_dir (str | Path): Each run has the folder ``VARIANT/seed_N`` in it.
        report (Callable, optional): Called with the variant, the seed, the epochs that
            are done and their number, at the start of a training and after each epoch.

    Raises:
        UsageError: If a finished run was made with other settings.
    """
    for seed in seeds:
        for variant, config in configs.items():
            cfg = copy.deepcopy(config)
            cfg.merge_from_dict({'randomness.seed': seed})
            cfg.pop('ablation', None)
            text = json.dumps(cfg.to_dict(), sort_keys=True, default=str)
            digits = hashlib.sha256(text.encode()).hexdigest()[:16]
            folder = Path(work_dir, variant, f'seed_{seed}')
            written = folder / 'result.json'
            if written.is_file():
                run = Run(**json.loads(written.read_text()))
                if run.settings != digits:
                    raise UsageError(
                        f'{written} is of a run with other settings; remove {folder} '
                        'or choose another --work-dir'
                    )
                yield run
                continue
            run = _train(cfg, variant, seed, folder, digits, report)
            with atomic_path(written) as path:
                path.write_text(json.dumps(asdict(run), indent=1))
            yield run


def _train(
    cfg: Config,
    variant: str,
    seed: int,
    folder: Path,
    settings: str,
    report: Callable[[str, int, int, int], object] | None,
) -> Run:
    check_data(cfg, ('train', 'val'))
    cfg.work_dir = str(folder)
    # a name per run: MMEngine keeps loggers and visualizers by it
    cfg.experiment_name = f'{variant}-{seed}'
    cfg.log_level = 'WARNING'
    set_resume(cfg, 'auto')
    start = time.perf_counter()
    runner = build_runner(cfg)
    if report is not None:
        runner.register_hook(_EpochHook(partial(report, variant, seed)))
    runner.train()
    seconds = time.perf_counter() - start
    metrics = {key: float(value) for key, value in runner.val_loop.run().items()}
    return Run(variant, seed, metrics, seconds, settings)


class _EpochHook(Hook):
    """Tells how many epochs are done."""

    def __init__(self, report: Callable[[int, int], object]) -> None:
        self.report = report

    def before_train(self, runner: Runner) -> None:
        self.report(runner.epoch, runner.max_epochs)

    def after_train_epoch(self, runner: Runner) -> None:
        self.report(runner.epoch + 1, runner.max_epochs)


@dataclass
class Row:
    """A variant in the table.

    Attributes:
        variant (str): Its name.
        values (list[float]): The metric, one value per seed.
        mean, std (float): Mean and sample standard deviation of ``values``.
        difference, error (float): Mean over seeds of the difference to the
            first variant with the same seed, and its standard error.
    """

    variant: str
    values: list[float]
    mean: float
    std: float
    difference: float
    error: float


def compare(runs: Sequence[Run], metric: str | None = None) -> tuple[str, list[Row]]:
    """Means and spreads of a metric, one row per variant.

    Args:
        runs (Sequence[Run]): Every variant with the same seeds.
        metric (str, optional): Defaults to None: the first one that was measured.

    Returns:
        tuple: The metric and the rows, in order of appearance.

    Raises:
        UsageError: If the metric was not measured.
    """
    measured = list(runs[0].metrics)
    metric = metric or measured[0]
    if metric not in measured:
        raise UsageError(f'metric {metric!r} was not measured; there are {measured}')
    values: dict[str, list[float]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        values.setdefault(run.variant, []).append(run.metrics[metric])
    names = list(dict.fromkeys(run.variant for run in runs))
    rows = []
    for name in names:
        pairs = [a - b for a, b in zip(values[name], values[names[0]])]
        number = len(pairs)
        rows.append(
            Row(
                name,
                values[name],
                mean(values[name]),
                stdev(values[name]) if number > 1 else 0.0,
                mean(pairs),
                stdev(pairs) / number**0.5 if number > 1 else 0.0,
            )
        )
    return metric, rows


def cells(row: Row) -> list[str]:
    """A row as text: variant, mean and spread, difference, all values."""
    return [
        row.variant,
        f'{row.mean:.2f} ± {row.std:.2f}',
        f'{row.difference:+.2f} ± {row.error:.2f}',
        ', '.join(f'{value:.2f}' for value in row.values),
    ]


HEADINGS = ('variant', 'mean ± deviation', 'to the first ± error', 'every seed')


def write_table(metric: str, rows: Sequence[Row], work_dir: str | Path) -> None:
    """Write ``ablation.md`` and ``ablation.json``."""
    lines = [f'`{metric}`', '', f'| {" | ".join(HEADINGS)} |', '| --- ' * 4 + '|']
    lines += [f'| {" | ".join(cells(row))} |' for row in rows]
    with atomic_path(Path(work_dir, 'ablation.md')) as path:
        path.write_text('\n'.join(lines) + '\n')
    with atomic_path(Path(work_dir, 'ablation.json')) as path:
        table = dict(metric=metric, rows=[asdict(row) for row in rows])
        path.write_text(json.dumps(table, indent=1))
