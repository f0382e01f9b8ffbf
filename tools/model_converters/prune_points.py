"""Drop the points of SMP kernels that do nothing, or little.

Without --threshold only points without any effect go, and the model computes what
it did before. The result is used with the same config.
"""

from __future__ import annotations

import argparse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the training form')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('out', help='file to write')
    parser.add_argument(
        '--threshold',
        type=float,
        default=0.0,
        help='largest change of a kernel, over its norm (0.1: a tenth)',
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='do not measure accuracy'
    )
    parser.add_argument('--cfg-options', nargs='+', action='extend', help='key=value')
    args = parser.parse_args(argv)

    from rich.console import Console
    from rich.table import Table

    from smpconv_mm.convert.prune import prune_file
    from smpconv_mm.engine.config import load_config
    from smpconv_mm.errors import plain_errors
    from smpconv_mm.visualization import short_name

    with plain_errors():
        layers, before, after = prune_file(
            load_config(args.config, args.cfg_options),
            args.checkpoint,
            args.out,
            args.threshold,
            validate=not args.no_validate,
        )
    console = Console()
    table = Table('kernel', 'points', 'left', 'outside', 'change')
    for layer in layers:
        table.add_row(
            short_name(layer.name),
            f'{layer.before}',
            f'{layer.after}',
            f'{layer.outside:.1%}',
            f'{layer.change:.1e}',
        )
    console.print(table)
    table = Table('', 'before', 'after')
    table.add_row('parameters', f'{before.parameters:,}', f'{after.parameters:,}')
    table.add_row('file, bytes', f'{before.size:,}', f'{after.size:,}')
    largest = max(layer.change for layer in layers)
    table.add_row('largest change of a kernel', '', f'{largest:.1e}')
    for key, value in before.metrics.items():
        table.add_row(key, f'{value:.2f}', f'{after.metrics[key]:.2f}')
    console.print(table)
    console.print(f'written to {args.out}; use it with the same config')


if __name__ == '__main__':
    main()
