"""The command line of the converters that take a config."""

from __future__ import annotations

import argparse
from collections import Counter


def run(origin: str, description: str, argv: list[str] | None = None) -> None:
    """Convert a file as the arguments say, and report.

    Args:
        origin (str): As for :func:`convert_file`.
        description (str): Of the command.
        argv (list[str], optional): Arguments. Defaults to None: those of the program.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('src', help='checkpoint of the original project')
    parser.add_argument('dst', help='file to write')
    parser.add_argument('--config', required=True, help='config of the model')
    parser.add_argument(
        '--ema', action='store_true', help='take model_ema, the averaged weights'
    )
    parser.add_argument('--keys', action='store_true', help='list every entry')
    args = parser.parse_args(argv)

    # after the arguments, so that --help is quick
    from rich.console import Console

    from smpconv_mm.errors import plain_errors

    from .files import convert_file

    with plain_errors():
        report = convert_file(args.src, args.dst, origin, args.config, args.ema)
    lines = []
    if args.keys:
        for old, new in report.renamed.items():
            change = report.changed.get(new)
            lines.append(f'{old} -> {new}' + (f' ({change})' if change else ''))
        lines += [f'{old} dropped: {why}' for old, why in report.dropped.items()]
        lines += [f'{new} has its initial value' for new in report.added]
    lines.append(f'{args.src}: {len(report.renamed)} entries converted, none unknown')
    for what, number in sorted(Counter(report.changed.values()).items()):
        lines.append(f'{number} kernels {what}')
    if report.dropped:
        lines.append(f'dropped: {", ".join(report.dropped)}')
    if report.added:
        lines.append(f'initial values: {", ".join(report.added)}')
    lines.append(f'fits {args.config}; written to {args.dst}')
    Console(markup=False, highlight=False).print(*lines, sep='\n', soft_wrap=True)
