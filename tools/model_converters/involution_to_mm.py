"""Convert a checkpoint of the involution or C-volution repository into ours.

Classifiers, detectors and segmenters; the config says which model it is. A classifier
with the config of a detector or segmenter becomes the backbone that it starts from. The
stem of a published classifier has 3x3 kernels, that of a detector or segmenter 7x7.
"""

from __future__ import annotations

import argparse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='checkpoint of the original project')
    parser.add_argument('dst', help='file to write')
    parser.add_argument('--config', required=True, help='config of the model')
    parser.add_argument('--keys', action='store_true', help='list every entry')
    args = parser.parse_args(argv)

    from smpconv_mm.convert.files import convert_involution_file
    from smpconv_mm.errors import plain_errors

    with plain_errors():
        report = convert_involution_file(args.src, args.dst, args.config)
    if args.keys:
        print(*(f'{old} -> {new}' for old, new in report.renamed.items()), sep='\n')
    dropped = ', '.join(report.dropped) or 'nothing'
    print(
        f'{args.src}: {len(report.renamed)} entries converted, {dropped} dropped, none '
        f'unknown; loads strictly into {args.config}. Written to {args.dst}'
    )


if __name__ == '__main__':
    main()
