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
    parser.add_argument(
        'configs',
        nargs='+',
        help='config files, mmpretrain::FOLDER/NAME.py, or after the first timm::NAME',
    )
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

    from smpconv_mm.apis.comparison import cells, compare, headings
    from smpconv_mm.apis.contenders import contenders_of
    from smpconv_mm.engine.config import parse_options
    from smpconv_mm.errors import plain_errors

    console = Console()
    with plain_errors(), Progress(console=console) as progress:
        configs = contenders_of(
            args.configs,
            args.kernels,
            parse_options(args.cfg_options or ()),
            args.data,
            args.work_dir,
        )
        metric, results = compare(
            configs,
            args.work_dir,
            args.seeds,
            args.budget,
            args.metric,
            'cuda' if torch.cuda.is_available() else 'cpu',
            progress,
        )
    table = Table(*headings(metric))
    for result in results:
        table.add_row(*cells(result))
    # all columns, also where they do not fit the window
    Console(width=Console(width=1000).measure(table).maximum).print(table)
    console.print(f'written to {args.work_dir}/report.html, compare.md, compare.json')


if __name__ == '__main__':
    main()
