"""Train the variants that a config lists under `ablation`, and compare them.

Finished runs are not repeated; interrupted ones go on where they stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file with a variable `ablation`')
    parser.add_argument('--variants', nargs='+', help='some of them; by default all')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--metric', help='by default the first that is measured')
    parser.add_argument('--work-dir', help='by default work_dirs/CONFIG')
    parser.add_argument('--cfg-options', nargs='+', action='extend', help='key=value')
    args = parser.parse_args(argv)

    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from smpconv_mm.apis import ablation
    from smpconv_mm.engine.config import load_config, parse_options
    from smpconv_mm.errors import plain_errors

    work_dir = args.work_dir or f'work_dirs/{Path(args.config).stem}'
    with plain_errors():
        options = parse_options(args.cfg_options or ())
        cfg = load_config(args.config, options)
        variants = ablation.variants_of(cfg, args.variants)
        configs = {
            name: load_config(args.config, {**options, **changes})
            for name, changes in variants.items()
        }
        runs = ablation.train_all(configs, args.seeds, work_dir)
        total = len(variants) * len(args.seeds)
        runs = list(track(runs, description='train', total=total))
        metric, rows = ablation.compare(runs, args.metric)
        ablation.write_table(metric, rows, work_dir)
    table = Table(*ablation.HEADINGS, title=metric)
    for row in rows:
        table.add_row(*ablation.cells(row))
    console = Console()
    console.print(table)
    console.print(f'written to {work_dir}/ablation.md and ablation.json')


if __name__ == '__main__':
    main()
