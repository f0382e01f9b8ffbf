"""Convert a checkpoint of the original SMPConv project into ours.

The averaged weights (state_dict_ema) are taken where the file has them: the
published accuracy is theirs.
"""

from __future__ import annotations

import argparse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='checkpoint of the original project')
    parser.add_argument('dst', help='file to write')
    parser.add_argument('--task', default='imagenet', help='what it was trained on')
    parser.add_argument(
        '--raw', action='store_true', help='take state_dict, not state_dict_ema'
    )
    parser.add_argument('--keys', action='store_true', help='list every entry')
    args = parser.parse_args(argv)

    from rich.console import Console
    from rich.table import Table

    from smpconv_mm.convert.files import convert_smpconv_file
    from smpconv_mm.errors import plain_errors

    with plain_errors():
        report, source, config = convert_smpconv_file(
            args.src, args.dst, args.task, averaged=not args.raw
        )
    console = Console()
    if args.keys:
        table = Table('original', 'here')
        for old, new in report.renamed.items():
            table.add_row(old, new)
        for old, reason in report.dropped.items():
            table.add_row(old, f'dropped: {reason}')
        console.print(table)
    console.print(
        f'{source} of {args.src}: {len(report.renamed)} entries converted, '
        f'{len(report.dropped)} dropped ({", ".join(set(report.dropped.values()))}), '
        f'none unknown; loads strictly into {config}. Written to {args.dst}',
        soft_wrap=True,
    )


if __name__ == '__main__':
    main()
