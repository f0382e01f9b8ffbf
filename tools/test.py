"""Test a checkpoint: classification, detection or segmentation."""

from __future__ import annotations

import argparse
import os


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='folder for the log and the metrics')
    parser.add_argument(
        '--data', metavar='FOLDER', help='images of your own, a folder for each class'
    )
    parser.add_argument('--out', help='write predictions (.pkl) or metrics (.json)')
    parser.add_argument(
        '--out-item',
        choices=['pred', 'metrics'],
        help='what --out writes; by default what its suffix says',
    )
    parser.add_argument('--show', action='store_true', help='show pictures in a window')
    parser.add_argument('--show-dir', help='write pictures of predictions here')
    parser.add_argument('--interval', type=int, default=1, help='picture every n-th')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds a window')
    parser.add_argument(
        '--tta', action='store_true', help='test-time augmentation (see the config)'
    )
    parser.add_argument('--amp', action='store_true', help='test in mixed precision')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        help='change the config: key=value ..., e.g. test_dataloader.batch_size=8',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none'
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args(argv)
    if args.out_item and not args.out:
        parser.error('--out-item says what --out writes; give --out FILE')
    if args.out and not args.out_item:
        args.out_item = 'metrics' if args.out.endswith('.json') else 'pred'
    if args.out_item == 'pred' and not args.out.endswith(('.pkl', '.pickle')):
        parser.error(f'--out: predictions are written as .pkl, got {args.out!r}')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)

    from torch.distributed.elastic.multiprocessing.errors import record

    record(test)(args)  # torchrun tells what the first process to fail died of


def test(args: argparse.Namespace) -> None:
    from mmengine.evaluator import DumpResults

    from smpconv_mm.engine import config
    from smpconv_mm.engine.own_images import use_images
    from smpconv_mm.engine.runner import build_runner, leave_group, write_metrics
    from smpconv_mm.errors import plain_errors

    with plain_errors():
        cfg = config.load_config(args.config, args.cfg_options)
        config.set_work_dir(cfg, args.work_dir)
        if args.data:
            use_images(cfg, args.data)
        cfg.load_from = args.checkpoint
        cfg.strategy = None  # a model is sharded to be trained
        if args.amp:
            cfg.test_cfg.fp16 = True
        if args.show or args.show_dir:
            config.set_visualization(
                cfg, args.show, args.show_dir, args.interval, args.wait_time
            )
        if args.tta:
            config.set_tta(cfg)
        config.check_data(cfg, ('test',))
        runner = build_runner(cfg, args.launcher)
        if args.out_item == 'pred':
            runner.test_evaluator.metrics.append(DumpResults(args.out))
        metrics = runner.test()
        if args.out_item == 'metrics':
            write_metrics(metrics, args.out)
        leave_group()


if __name__ == '__main__':
    main()
