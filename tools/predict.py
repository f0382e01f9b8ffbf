"""Print the likeliest classes of images."""

from __future__ import annotations

import argparse

from mmengine.config import DictAction
from rich.console import Console
from rich.table import Table

from smpconv_mm.errors import plain_errors


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file of a classifier')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('images', nargs='+', help='image files')
    parser.add_argument('--topk', type=int, default=5, help='classes per image')
    parser.add_argument('--device', help='e.g. cpu or cuda:0')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value')
    args = parser.parse_args(argv)
    with plain_errors():
        from smpconv_mm.apis.inference import predict

        results = predict(
            args.config,
            args.checkpoint,
            args.images,
            args.topk,
            args.device,
            args.cfg_options,
        )
    for path, result in zip(args.images, results):
        table = Table('class', 'probability', title=path, title_justify='left')
        for name, score in result:
            table.add_row(name, f'{score:.4f}')
        Console().print(table)


if __name__ == '__main__':
    main()
