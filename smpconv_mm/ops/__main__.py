"""Print the backends of every operation and what ``auto`` takes for a shape."""

from __future__ import annotations

import argparse
import logging
import sys

import torch

from .dispatch import choose, example, explain, operations
from .extension import LOAD_ERROR

# not MMLogger: operations need torch alone
logger = logging.getLogger(__package__)


def main() -> None:
    """Entry point of ``python -m smpconv_mm.ops``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--shape',
        type=int,
        nargs=4,
        default=[8, 96, 56, 56],
        metavar=('N', 'C', 'H', 'W'),
        help='of the input; 1-D operations take H x W as its length',
    )
    parser.add_argument('--kernel-size', type=int, default=31)
    parser.add_argument('--dtype', default='float32', help='e.g. float32, bfloat16')
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    args = parser.parse_args()
    dtype = getattr(torch, args.dtype, None)
    if not isinstance(dtype, torch.dtype):
        parser.error(f'--dtype {args.dtype!r} is not a dtype of torch')

    logger.handlers = [logging.StreamHandler(sys.stdout)]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.info(f'torch {torch.__version__}, {args.device}, {args.dtype}')
    logger.info(f'compiled operations: {LOAD_ERROR or "loaded"}')
    for op in operations():
        tensors = example(
            op, args.shape, args.kernel_size, dtype=dtype, device=args.device
        )
        logger.info(f'\n{op}: auto takes {choose(op, "auto", *tensors).name!r} here')
        for line, needs in zip(
            explain(op, *tensors).splitlines(), explain(op).splitlines()
        ):
            logger.info(f'  {line}  ({needs.partition(": ")[2]})')


if __name__ == '__main__':
    main()
