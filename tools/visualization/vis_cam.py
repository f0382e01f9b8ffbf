"""Draw where a classifier looks: class activation maps."""

import argparse

from mmengine.config import DictAction

from smpconv_mm.engine.config import check_data, load_config
from smpconv_mm.errors import plain_errors
from smpconv_mm.visualization import save_figure
from smpconv_mm.visualization.cam import METHODS, draw_activations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file of a classifier')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('images', nargs='*', help='without: of the test dataset')
    parser.add_argument('--out', default='cam.png', help='picture to write')
    parser.add_argument('--number', type=int, default=8, help='of the test dataset')
    parser.add_argument('--method', choices=METHODS, default='gradcam')
    parser.add_argument('--layer', help='layer of the backbone, e.g. stages.2')
    parser.add_argument('--category', type=int, help='class; by default the likeliest')
    parser.add_argument('--device', help='e.g. cpu or cuda:0')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value')
    args = parser.parse_args()
    with plain_errors():
        cfg = load_config(args.config, args.cfg_options)
        if not args.images:
            check_data(cfg, ('test',))
        figure = draw_activations(
            cfg,
            args.checkpoint,
            args.images,
            args.number,
            args.method,
            args.layer,
            args.category,
            args.device,
        )
        save_figure(figure, args.out)
    print(f'activation maps drawn in {args.out}')


if __name__ == '__main__':
    main()
