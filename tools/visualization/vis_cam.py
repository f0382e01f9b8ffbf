"""Draw where a classifier, detector or segmenter looks: class activation maps."""

from __future__ import annotations

import argparse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('images', nargs='*', help='without: of the test dataset')
    parser.add_argument('--out', default='cam.png', help='picture to write')
    parser.add_argument('--number', type=int, default=8, help='of the test dataset')
    parser.add_argument(
        '--method',
        default='gradcam',
        help='gradcam (default), gradcam++, hirescam, layercam or eigencam',
    )
    parser.add_argument('--layer', help='layer of the backbone, e.g. stages.2')
    parser.add_argument('--category', type=int, help='by default the likeliest class')
    parser.add_argument('--device', help='e.g. cpu or cuda:0')
    parser.add_argument('--cfg-options', nargs='+', action='extend', help='key=value')
    args = parser.parse_args(argv)

    from smpconv_mm.apis.inference import Predictor, find_images, read_image
    from smpconv_mm.apis.inputs import dataset_images
    from smpconv_mm.engine.config import load_config
    from smpconv_mm.errors import plain_errors
    from smpconv_mm.visualization import picture_path, save_figure
    from smpconv_mm.visualization.cam import draw_activations

    with plain_errors():
        out = picture_path(args.out)
        cfg = load_config(args.config, args.cfg_options)
        images = [
            read_image(path) for name in args.images for path in find_images(name)
        ]
        figure = draw_activations(
            Predictor(cfg, args.checkpoint, args.device),
            images or list(dataset_images(cfg, args.number)),
            args.method,
            args.layer,
            args.category,
        )
        save_figure(figure, out)
    print(f'activation maps drawn in {out}')


if __name__ == '__main__':
    main()
