"""Fit functions with self-moving points and with networks of the same size.

Writes psnr.json and psnr.csv, fits.png, and points_SIGNAL.gif of moving points.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from smpconv_mm.errors import plain_errors
from smpconv_mm.visualization import save_figure

from .fitting import (
    METHODS,
    fit_all,
    summarise,
    write_results,
)
from .pictures import animate_points, draw_fits
from .signals import KERNELS, SIGNALS, load_signal


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--signals',
        nargs='+',
        default=list(SIGNALS),
        help=f'of {", ".join(SIGNALS)}; kernels of 33x33: {", ".join(KERNELS)}; '
        'or .wav and .npy files',
    )
    parser.add_argument(
        '--steps', type=int, nargs='+', default=[10, 100, 1000], help='measure after'
    )
    parser.add_argument(
        '--seconds', type=float, nargs='+', default=[0.5], help='measure after'
    )
    parser.add_argument(
        '--params', type=int, help='by default half the number of samples'
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--out-dir', default='work_dirs/fit_function')
    args = parser.parse_args(argv)
    folder = Path(args.out_dir)
    with plain_errors():
        signals = {Path(name).stem: load_signal(name) for name in args.signals}
        runs = fit_all(signals, args.steps, args.seconds, args.seeds, args.params)
        total = len(signals) * len(METHODS) * len(args.seeds)
        fits = list(track(runs, description='fit', total=total))
        rows = summarise(fits, args.steps, args.seconds)
        write_results(fits, args.steps, args.seconds, folder)
        save_figure(draw_fits(signals, fits), folder / 'fits.png')
        for name, target in signals.items():
            run = next(r for r in fits if (r.signal, r.method) == (name, 'smp'))
            animate_points(target, run, folder / f'points_{name}.gif')
    table = Table('', title='PSNR, dB')
    for method in METHODS.values():
        table.add_column(method.title, justify='right')
    for name in signals:
        table.add_section()
        size = {run.method: run.parameters for run in fits if run.signal == name}
        table.add_row(f'{name}, parameters', *(f'{size[key]:,}' for key in METHODS))
        for row in rows:
            if row.signal == name:
                cells = {k: f'{m:.1f}±{s:.1f}' for k, (m, s) in row.psnr.items()}
                cells[row.best] = f'[bold]{cells[row.best]}'
                table.add_row(f'after {row.budget}', *cells.values())
    wide = Console(width=1000)  # numbers are never cut
    console = Console(width=wide.measure(table).maximum)
    console.print(table)
    console.print(f'written to {folder}')


if __name__ == '__main__':
    main()
