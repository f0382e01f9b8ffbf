"""Test a classifier, detector or segmenter and draw its confusion matrix."""

from __future__ import annotations

import argparse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('--out', default='confusion_matrix.png', help='picture')
    parser.add_argument('--cfg-options', nargs='+', action='extend', help='key=value')
    args = parser.parse_args(argv)

    from smpconv_mm.errors import plain_errors

    with plain_errors():
        from smpconv_mm.apis.confusion import confusion_matrix
        from smpconv_mm.apis.inference import task_of
        from smpconv_mm.engine.config import load_config
        from smpconv_mm.visualization import (
            draw_confusion,
            picture_path,
            save_figure,
        )

        out = picture_path(args.out)
        cfg = load_config(args.config, args.cfg_options)
        matrix, classes = confusion_matrix(cfg, args.checkpoint)
        save_figure(draw_confusion(matrix, classes), out)
        what = dict(detection='objects', segmentation='pixels')
        what = what.get(task_of(cfg), 'images')
    right = matrix.diagonal().sum()
    true = matrix[:-1].sum() if what == 'objects' else matrix.sum()
    more = f', {int(matrix[-1].sum())} boxes on nothing' if what == 'objects' else ''
    print(
        f'{int(right)} of {int(true)} {what} right '
        f'({100 * float(right) / max(int(true), 1):.2f} %){more}; drawn in {out}'
    )


if __name__ == '__main__':
    main()
