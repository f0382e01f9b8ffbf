"""Convert a checkpoint of the Oriented1D repository into ours.

For the config of a detector or segmenter the result is its backbone, with taps cut to
those that were trained; the source is then a classifier (of the authors, or trained
with this package) or a backbone.
"""

from __future__ import annotations

import argparse
from collections import Counter


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='checkpoint of the original project')
    parser.add_argument('dst', help='file to write')
    parser.add_argument('--config', required=True, help='config of the model')
    parser.add_argument(
        '--ema', action='store_true', help='take model_ema, the averaged weights'
    )
    parser.add_argument('--keys', action='store_true', help='list every entry')
    args = parser.parse_args(argv)

    from rich.console import Console
    from rich.table import Table

    from smpconv_mm.convert.files import convert_oriented1d_file
    from smpconv_mm.errors import plain_errors

    with plain_errors():
        report = convert_oriented1d_file(args.src, args.dst, args.config, args.ema)
    console = Console()
    if args.keys:
        table = Table('original', 'here', '')
        for old, new in report.renamed.items():
            table.add_row(old, new, report.changed.get(new, ''))
        for old, reason in report.dropped.items():
            table.add_row(old, '', f'dropped: {reason}')
        for new in report.added:
            table.add_row('', new, 'initial value')
        console.print(table)
    lines = [f'{args.src}: {len(report.renamed)} entries converted, none unknown']
    for what, number in sorted(Counter(report.changed.values()).items()):
        lines.append(f'{number} kernels {what}')
    if report.dropped:
        lines.append(f'dropped: {", ".join(report.dropped)}')
    if report.added:
        lines.append(f'initial values: {", ".join(report.added)}')
    lines.append(f'fits {args.config}; written to {args.dst}')
    console.print(*lines, sep='\n', soft_wrap=True)


if __name__ == '__main__':
    main()
