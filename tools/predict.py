"""Predict images with a classifier, a detector or a segmenter."""

from __future__ import annotations

import argparse
import sys

HEADS = {
    'classification': ('class', 'probability'),
    'detection': ('class', 'score', 'left, top, right, bottom'),
    'segmentation': ('class', 'share of the image'),
}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument(
        'images', nargs='+', help="image files, folders, or patterns like 'a/*.jpg'"
    )
    parser.add_argument('--topk', type=int, default=5, help='lines an image at most')
    parser.add_argument(
        '--score-thr', type=float, default=0.3, help='of a detector: least score'
    )
    parser.add_argument('--out-dir', help='folder for pictures of the predictions')
    parser.add_argument('--device', help='e.g. cpu or cuda:0')
    parser.add_argument('--cfg-options', nargs='+', action='extend', help='key=value')
    args = parser.parse_args(argv)
    if args.topk < 1:
        parser.error(f'--topk must be 1 or more, got {args.topk}')
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)

    from smpconv_mm.errors import plain_errors

    with plain_errors():
        from rich.console import Console
        from rich.progress import track
        from rich.table import Table

        from smpconv_mm.apis.inference import predict, task_of
        from smpconv_mm.engine.config import load_config

        cfg = load_config(args.config, args.cfg_options)
        task = task_of(cfg)
        results = predict(
            cfg,
            args.checkpoint,
            args.images,
            args.device,
            args.out_dir,
            args.score_thr,
        )
        show, tell = Console(), Console(stderr=True)
        bad = 0
        for one in track(results, 'predict', console=tell, total=None, transient=True):
            if one.error:
                bad += 1
                tell.print(f'error: {one.error}', soft_wrap=True, markup=False)
                continue
            show.print(one.path, soft_wrap=True, markup=False, highlight=False)
            table = Table(*HEADS[task])
            for found in one.found[: args.topk]:
                box = [', '.join(f'{side:.0f}' for side in found.box or ())]
                table.add_row(found.name, f'{found.score:.4f}', *box * bool(found.box))
            show.print(table)
        if bad:
            sys.exit(f'error: {bad} of the images could not be predicted; see above')


if __name__ == '__main__':
    main()
