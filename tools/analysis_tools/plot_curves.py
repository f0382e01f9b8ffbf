"""Draw the training curves of one or several runs."""

from __future__ import annotations

import argparse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dirs', nargs='+', help='work dirs of trainings')
    parser.add_argument('--keys', nargs='+', help='scalars, e.g. loss accuracy/top1')
    parser.add_argument('--out', default='curves.png', help='picture to write')
    args = parser.parse_args(argv)

    from smpconv_mm.errors import plain_errors
    from smpconv_mm.visualization import draw_curves, picture_path, save_figure

    with plain_errors():
        out = picture_path(args.out)
        save_figure(draw_curves(args.work_dirs, args.keys), out)
    print(f'curves drawn in {out}')


if __name__ == '__main__':
    main()
