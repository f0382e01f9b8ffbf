"""Train kernels or networks on the same data, and compare them.

With --kernels, each kernel is put into the backbone of the config. The results are
compare.json, compare.md, figures and report.html in the work dir. Finished trainings
are not repeated; interrupted ones go on where they stopped.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

UNITS = dict(s=1, m=60, h=3600)


def budget(text: str) -> float:
    """Seconds of '90s', '10m' or '2h'."""
    match = re.fullmatch(r'(\d+(?:\.\d+)?)([smh])', text)
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a time; write it as 90s, 10m or 2h'
        )
    return float(match[1]) * UNITS[match[2]]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+', help='config files')
    parser.add_argument(
        '--kernels', help='some of dense,smp,ck,flex,oriented,dcls', default=''
    )
    parser.add_argument('--seeds', type=int, default=3, help='trainings of each')
    parser.add_argument(
        '--budget',
        type=budget,
        metavar='TIME',
        help='of all trainings together, e.g. 10m; by default as the configs say',
    )
    parser.add_argument(
        '--data', metavar='FOLDER', help='images of your own, a folder for each class'
    )
    parser.add_argument('--metric', help='by default the first that is measured')
    parser.add_argument('--work-dir', help='by default work_dirs/compare-CONFIG')
    parser.add_argument('--cfg-options', nargs='+', action='extend', help='key=value')
    args = parser.parse_args(argv)
    if args.seeds < 1:
        parser.error('--seeds must be at least 1')
    args.kernels = [name for name in args.kernels.split(',') if name]
    if args.work_dir is None:
        stem = Path(args.configs[0].rpartition('::')[2]).stem
        args.work_dir = f'work_dirs/compare-{stem}'
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)

    import torch
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from smpconv_mm.apis import ablation, comparison
    from smpconv_mm.apis.benchmark import environment
    from smpconv_mm.apis.report import write_report
    from smpconv_mm.engine.config import parse_options
    from smpconv_mm.errors import plain_errors
    from smpconv_mm.visualization import (
        draw_kernels_of,
        draw_learning,
        draw_tradeoffs,
        erf,
        save_figure,
    )

    work_dir = Path(args.work_dir)
    console = Console()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    with plain_errors(), Progress(console=console) as progress:
        configs = comparison.contenders_of(
            args.configs,
            args.kernels,
            parse_options(args.cfg_options or ()),
            args.data,
            work_dir,
        )
        work_dir.mkdir(parents=True, exist_ok=True)
        if args.budget:
            trial = progress.add_task('time an epoch', total=len(configs))
            epochs = comparison.fit_budget(
                configs,
                args.seeds,
                args.budget,
                work_dir,
                lambda name: progress.advance(trial),
            )
            progress.update(trial, completed=len(configs))
            console.print(f'each training has {epochs} epochs')
        total = len(configs) * args.seeds
        whole = progress.add_task('train', total=total)
        now = progress.add_task('', total=None)

        def report(name: str, seed: int, done: int, epochs: int) -> None:
            text = f'{name}, seed {seed}'
            progress.update(now, description=text, completed=done, total=epochs)

        runs = []
        for run in ablation.train_all(configs, range(args.seeds), work_dir, report):
            runs.append(run)
            progress.advance(whole)
        progress.update(now, description='measure', completed=0, total=1 + len(configs))
        metric, results, models, fields = comparison.measure_all(
            configs,
            runs,
            work_dir,
            args.metric,
            device,
            lambda what: progress.advance(now),
        )
        progress.update(now, completed=1 + len(configs))
        comparison.write_results(metric, results, work_dir, device)
        rows = [vars(result) for result in results]
        figures = {
            f'{metric} against cost': draw_tradeoffs(rows, metric),
            'Learning curves': draw_learning(rows, metric),
            'Kernels of the first layer': draw_kernels_of(models),
            'Receptive fields': erf.draw_fields(fields) if fields else None,
        }
        names = ('tradeoffs', 'learning', 'kernels', 'fields')
        pictures = {
            title: save_figure(figure, work_dir / f'{name}.png')
            for name, (title, figure) in zip(names, figures.items())
            if figure is not None
        }
        headings = [metric if h == 'metric' else h for h in comparison.HEADINGS]
        cells = [comparison.cells(result) for result in results]
        write_report(
            work_dir / 'report.html',
            f'Comparison of {", ".join(configs)}',
            [
                f'{args.seeds} trainings of each contender. Means and deviations over '
                'seeds; differences to the first contender are of pairs with the same '
                'seed, with their standard error.',
            ],
            headings,
            cells,
            pictures,
            environment(device),
        )
    table = Table(*headings)
    for row in cells:
        table.add_row(*row)
    # all columns, also where they do not fit the window
    Console(width=Console(width=1000).measure(table).maximum).print(table)
    console.print(f'written to {work_dir}/report.html, compare.md and compare.json')


if __name__ == '__main__':
    main()
