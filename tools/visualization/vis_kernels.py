"""Draw the kernels of a model, and the points, lines or masks that make them.

Of involutions, the kernels that they make for an image: a file, or by default the
first of the test dataset; without its data, noise.
"""

from __future__ import annotations

import argparse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='without one: initial kernels')
    parser.add_argument('--out', default='kernels.png', help='picture to write')
    parser.add_argument('--layers', type=int, default=8, help='layers at most')
    parser.add_argument(
        '--channels',
        type=int,
        default=5,
        help='channels (of involutions groups) a layer',
    )
    parser.add_argument('--layer', help='layers in this one only, e.g. stages.0')
    parser.add_argument(
        '--sizes', metavar='FILE', help='picture of the learned size of every layer'
    )
    parser.add_argument('--image', help='image file, for involutions')
    parser.add_argument('--size', type=int, default=224, help='side of that image')
    parser.add_argument('--cfg-options', nargs='+', action='extend', help='key=value')
    args = parser.parse_args(argv)

    from smpconv_mm.apis.inputs import as_shown, image_for
    from smpconv_mm.engine.config import load_config, preprocessor_of
    from smpconv_mm.engine.runner import build_model
    from smpconv_mm.errors import UsageError, plain_errors
    from smpconv_mm.layers import Involution2d
    from smpconv_mm.visualization import (
        draw_input_kernels,
        draw_kernel_sizes,
        draw_kernels,
        picture_path,
        save_figure,
    )

    with plain_errors():
        out = picture_path(args.out)
        cfg = load_config(args.config, args.cfg_options)
        model = build_model(cfg, args.checkpoint)
        try:
            if any(isinstance(module, Involution2d) for module in model.modules()):
                x, words = image_for(cfg, args.image, args.size)
                print(words)
                picture = as_shown(x, preprocessor_of(cfg))
                shape = dict(max_layers=args.layers, groups=args.channels)
                figure = draw_input_kernels(
                    model, x, picture, **shape, layer=args.layer
                )
            else:
                figure = draw_kernels(model, args.layers, args.channels, args.layer)
            if args.sizes:
                save_figure(draw_kernel_sizes(model), args.sizes)
        except ValueError as error:
            raise UsageError(str(error)) from error
        save_figure(figure, out)
    print(f'kernels drawn in {out}')


if __name__ == '__main__':
    main()
