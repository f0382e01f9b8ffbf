"""Draw the kernels of a model, and the points, lines or masks that make them."""

from __future__ import annotations

import argparse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='without one: initial kernels')
    parser.add_argument('--out', default='kernels.png', help='picture to write')
    parser.add_argument('--layers', type=int, default=8, help='layers at most')
    parser.add_argument('--channels', type=int, default=5, help='channels a layer')
    parser.add_argument('--layer', help='layers in this one only, e.g. stages.0')
    parser.add_argument(
        '--sizes', metavar='FILE', help='picture of the learned size of every layer'
    )
    parser.add_argument('--cfg-options', nargs='+', action='extend', help='key=value')
    args = parser.parse_args(argv)

    from smpconv_mm.engine.config import load_config
    from smpconv_mm.engine.runner import build_model
    from smpconv_mm.errors import UsageError, plain_errors
    from smpconv_mm.visualization import (
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
            figure = draw_kernels(model, args.layers, args.channels, args.layer)
            if args.sizes:
                save_figure(draw_kernel_sizes(model), args.sizes)
        except ValueError as error:
            raise UsageError(str(error)) from error
        save_figure(figure, out)
    print(f'kernels drawn in {out}')


if __name__ == '__main__':
    main()
