"""Export a model's deploy form as ONNX or torch.export's .pt2, and check the file.

Of a detector or segmenter the backbone is exported. Images are normalised by the
caller.
"""

from __future__ import annotations

import argparse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the model')
    parser.add_argument('checkpoint', help='its checkpoint, training or deploy form')
    parser.add_argument('dst', help='file to write: *.onnx or *.pt2')
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        help='height and width of the image (one number: a square), or samples of '
        'the sequence; by default those of the test data of the config',
    )
    parser.add_argument(
        '--dynamic',
        action=argparse.BooleanOptionalAction,
        help='any batch and any size of input; the default for sequences',
    )
    parser.add_argument(
        '--fp16', action='store_true', help='weights and computation in float16'
    )
    parser.add_argument('--cfg-options', nargs='+', action='extend', help='key=value')
    args = parser.parse_args(argv)

    from smpconv_mm.apis.export import export_file
    from smpconv_mm.errors import plain_errors

    with plain_errors():
        done = export_file(
            args.config,
            args.checkpoint,
            args.dst,
            args.shape,
            args.dynamic,
            args.fp16,
            args.cfg_options,
        )
    size = ' x '.join(map(str, done.shape))
    others = ', and any other' if done.dynamic else ', batch 1, no other'
    print(f'size of the input: {size} (from {done.source}){others}')
    for shape, relative in done.inputs.items():
        print(f'input {shape}: largest difference {relative:.1e} of the largest output')
    print(f'largest absolute difference: {done.absolute:.1e}')
    print(f'{args.dst}: outputs {", ".join(done.outputs)}')
    print(f'Before the network, not in the file: {done.preprocessing}')


if __name__ == '__main__':
    main()
