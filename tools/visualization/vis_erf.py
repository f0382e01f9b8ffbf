"""Draw effective receptive fields, and print how large they are.

The field is what the centre of the last map depends on, over images of the test
dataset; without its data, over noise.
"""

from __future__ import annotations

import argparse


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'models',
        nargs='+',
        metavar='CONFIG [CHECKPOINT]',
        help='config file (or PACKAGE::CONFIG of an installed package), each '
        'followed by its checkpoint; without one: initial weights',
    )
    parser.add_argument('--out', default='erf.png', help='picture to write')
    parser.add_argument('--layer', help='layer of the backbone, e.g. stages.3')
    parser.add_argument('--size', type=int, default=1024, help='side of the input')
    parser.add_argument('--num-images', type=int, default=50)
    parser.add_argument('--device', help='e.g. cpu or cuda:0')
    parser.add_argument('--cfg-options', nargs='+', action='extend', help='key=value')
    args = parser.parse_args(argv)
    if args.size < 8 or args.num_images < 1:
        parser.error('--size must be at least 8 and --num-images at least 1')
    pairs = []
    for name in args.models:
        if name.endswith('.py'):
            pairs.append([name])
        elif pairs and len(pairs[-1]) == 1:
            pairs[-1].append(name)
        else:
            parser.error(f'{name!r} is neither a config (.py) nor follows one')
    args.models = pairs
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)

    import torch
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from smpconv_mm.apis.inputs import images_for
    from smpconv_mm.engine.config import load_config
    from smpconv_mm.engine.runner import build_model, initialise
    from smpconv_mm.errors import plain_errors
    from smpconv_mm.visualization import erf, picture_path, save_figure

    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    table = Table('model', title='side of the square (share of the input) that holds')
    for threshold in erf.THRESHOLDS:
        table.add_column(f'{threshold:.0%}', justify='right')
    fields = {}
    with plain_errors():
        out = picture_path(args.out)
        for config, *checkpoint in args.models:
            cfg = load_config(config, args.cfg_options)
            backbone = build_model(cfg, *checkpoint).backbone.to(device)
            if not checkpoint:
                initialise(backbone)
            backbone.requires_grad_(False)
            images, words = images_for(cfg, args.num_images, args.size, device)
            title = config.rpartition('/')[2].removesuffix('.py')
            print(f'{title}: {words}')
            images = track(images, title, total=args.num_images)
            field = erf.receptive_field(backbone, images, args.layer)
            title += f'\n{"trained" if checkpoint else "initial weights"}'
            title += ' (2)' * (title in fields)
            fields[title] = field
            cells = [
                f'{area.side} ({area.ratio:.1%})' if area.side else 'none'
                for area in erf.area_ratios(field)
            ]
            table.add_row(title, *cells)
        save_figure(erf.draw_fields(fields), out)
    Console().print(table)
    print(f'receptive fields drawn in {out}')


if __name__ == '__main__':
    main()
