"""Test a classifier and draw its confusion matrix."""

import argparse
import tempfile

from mmengine.config import DictAction

from smpconv_mm.utils import runner as utils
from smpconv_mm.visualization import draw_confusion, save_figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file of a classifier')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('--out', default='confusion_matrix.png', help='picture')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value')
    args = parser.parse_args()
    with utils.plain_errors(), tempfile.TemporaryDirectory() as work_dir:
        cfg = utils.load_config(args.config, args.cfg_options)
        utils.check_data(cfg, ('test',))
        cfg.work_dir = work_dir
        cfg.load_from = args.checkpoint
        cfg.test_evaluator = dict(type='ConfusionMatrix')
        runner = utils.build_runner(cfg)
        matrix = runner.test()['confusion_matrix/result']
        classes = runner.test_loop.dataloader.dataset.metainfo.get('classes')
        save_figure(draw_confusion(matrix, classes), args.out)
    total = int(matrix.sum())
    print(
        f'{int(matrix.diagonal().sum())} of {total} right '
        f'({100 * float(matrix.diagonal().sum()) / total:.2f} %); drawn in {args.out}'
    )


if __name__ == '__main__':
    main()
