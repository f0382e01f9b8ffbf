"""Train a model: classification, detection or segmentation."""

from __future__ import annotations

import argparse
import os


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints')
    parser.add_argument(
        '--data', metavar='FOLDER', help='images of your own, a folder for each class'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from this checkpoint, or without a name from the latest one '
        'of the work dir',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='float16',
        choices=['float16', 'bfloat16'],
        help='automatic mixed precision; float16 if no dtype is named',
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='do not evaluate while training'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the actual batch size',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        help='change the config: key=value ..., e.g. train_cfg.max_epochs=10',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none'
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)

    from torch.distributed.elastic.multiprocessing.errors import record

    record(train)(args)  # torchrun tells what the first process to fail died of


def train(args: argparse.Namespace) -> None:
    from smpconv_mm.engine import config
    from smpconv_mm.engine.own_images import use_images
    from smpconv_mm.engine.runner import build_runner, leave_group
    from smpconv_mm.errors import plain_errors

    with plain_errors():
        cfg = config.load_config(args.config, args.cfg_options)
        config.set_work_dir(cfg, args.work_dir)
        if args.data:
            use_images(cfg, args.data)
        if args.no_validate:
            config.drop_validation(cfg)
        if args.amp:
            config.set_amp(cfg, args.amp)
        if args.resume:
            config.set_resume(cfg, args.resume)
        if args.auto_scale_lr:
            config.set_auto_scale_lr(cfg)
        config.check_data(cfg, ('train', 'val'))
        build_runner(cfg, args.launcher).train()
        leave_group()


if __name__ == '__main__':
    main()
