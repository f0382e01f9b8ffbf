"""Write a classifier's deploy form in int8 for onnxruntime, and check its accuracy.

Images of the training data calibrate it, those of the test data are classified in
float32 and in int8.
"""

from __future__ import annotations

import argparse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of a classifier')
    parser.add_argument('checkpoint', help='its checkpoint, training or deploy form')
    parser.add_argument('dst', help='file to write: *.onnx')
    parser.add_argument(
        '--calibration', type=int, default=256, help='training images to calibrate with'
    )
    parser.add_argument(
        '--max-loss', type=float, default=0.01, help='share of test images, 0.01: 1 %%'
    )
    parser.add_argument(
        '--full-range',
        action='store_true',
        help='weights of 8 bits instead of 7; wrong on processors without VNNI',
    )
    parser.add_argument('--cfg-options', nargs='+', action='extend', help='key=value')
    args = parser.parse_args(argv)
    if args.calibration < 1:
        parser.error(f'--calibration must be 1 or more, got {args.calibration}')

    from smpconv_mm.apis.quantization import quantise_file
    from smpconv_mm.errors import plain_errors

    with plain_errors():
        done = quantise_file(
            args.config,
            args.checkpoint,
            args.dst,
            args.calibration,
            args.max_loss,
            args.full_range,
            args.cfg_options,
        )
    before, after = done.right
    print(
        f'of {done.images} test images {before} are right in float32, {after} in int8; '
        f'{done.same} get the same class'
    )
    print(f'{args.dst}: {done.size[1]:,} bytes, {done.size[0]:,} in float32')


if __name__ == '__main__':
    main()
