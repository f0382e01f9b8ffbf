"""Test a classifier and draw its confusion matrix."""

from __future__ import annotations

import argparse
import tempfile

from mmengine.config import DictAction

from smpconv_mm.engine.config import check_data, load_config
from smpconv_mm.engine.runner import build_runner
from smpconv_mm.errors import plain_errors
from smpconv_mm.visualization import draw_confusion, picture_path, save_figure


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file of a classifier')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('--out', default='confusion_matrix.png', help='picture')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value')
    args = parser.parse_args(argv)
    with plain_errors(), tempfile.TemporaryDirectory() as work_dir:
        out = picture_path(args.out)
        cfg = load_config(args.config, args.cfg_options)
        check_data(cfg, ('test',))
        cfg.work_dir = work_dir
        cfg.load_from = args.checkpoint
        cfg.test_evaluator = dict(type='ConfusionMatrix')
        runner = build_runner(cfg)
        matrix = runner.test()['confusion_matrix/result']
        classes = runner.test_loop.dataloader.dataset.metainfo.get('classes')
        save_figure(draw_confusion(matrix, classes), out)
    total = int(matrix.sum())
    print(
        f'{int(matrix.diagonal().sum())} of {total} right '
        f'({100 * float(matrix.diagonal().sum()) / total:.2f} %); drawn in {out}'
    )


if __name__ == '__main__':
    main()
