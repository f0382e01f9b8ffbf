"""Draw samples of a dataset as the model gets them."""

from __future__ import annotations

import argparse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--phase', choices=['train', 'val', 'test'], default='train')
    parser.add_argument('--number', type=int, default=24, help='how many samples')
    parser.add_argument('--out', default='samples.png', help='picture to write')
    parser.add_argument('--cfg-options', nargs='+', action='extend', help='key=value')
    args = parser.parse_args(argv)

    from smpconv_mm.engine.config import load_config, turns_channels
    from smpconv_mm.engine.runner import build_dataset, build_visualizer
    from smpconv_mm.errors import plain_errors
    from smpconv_mm.visualization import draw_samples, picture_path, save_figure

    with plain_errors():
        out = picture_path(args.out)
        cfg = load_config(args.config, args.cfg_options)
        dataset = build_dataset(cfg, args.phase)
        bgr = turns_channels(cfg)
        visualizer = build_visualizer(cfg, dataset.metainfo.get('classes'))
        save_figure(draw_samples(dataset, args.number, bgr, visualizer), out)
    print(f'samples drawn in {out}')


if __name__ == '__main__':
    main()
