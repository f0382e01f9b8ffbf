"""Convert a checkpoint of the FlexConv or CKConv repository into ours.

The config says which model it is. Settings that are not in the file must stand there:
the length of kernels, omega_0 of CKConv, and of a network that was fine-tuned at
another resolution kernel_scale, e.g. (16 / 32) ** 2.
"""

from __future__ import annotations

import argparse

from smpconv_mm.convert.files import convert_flexconv_file
from smpconv_mm.errors import plain_errors


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='checkpoint of the original project')
    parser.add_argument('dst', help='file to write')
    parser.add_argument('--config', required=True, help='config of the model')
    parser.add_argument('--keys', action='store_true', help='list every entry')
    args = parser.parse_args(argv)
    with plain_errors():
        report = convert_flexconv_file(args.src, args.dst, args.config)
    if args.keys:
        print(*(f'{old} -> {new}' for old, new in report.renamed.items()), sep='\n')
        print(*(f'{old}: {why}' for old, why in report.dropped.items()), sep='\n')
    print(
        f'{args.src}: {len(report.renamed)} entries converted, {len(report.dropped)} '
        f'dropped, none unknown; loads strictly into {args.config}. Written to '
        f'{args.dst}'
    )


if __name__ == '__main__':
    main()
