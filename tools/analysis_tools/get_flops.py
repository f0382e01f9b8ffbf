"""Print parameters and multiply-adds of a model."""

from __future__ import annotations

import argparse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        help='height and width of the image (one number: a square), or samples of '
        'the sequence; by default those of the test data of the config',
    )
    parser.add_argument('--cfg-options', nargs='+', action='extend', help='key=value')
    args = parser.parse_args(argv)

    from rich.console import Console
    from rich.table import Table

    from smpconv_mm.apis.complexity import measure
    from smpconv_mm.apis.inputs import input_size
    from smpconv_mm.engine.config import load_config
    from smpconv_mm.engine.runner import build_model
    from smpconv_mm.errors import plain_errors

    with plain_errors():
        cfg = load_config(args.config, args.cfg_options)
        model = build_model(cfg)
        ndim = getattr(model.backbone, 'ndim', 2)
        size, source = args.shape, '--shape'
        if size is None:
            size, source = input_size(cfg, ndim)
    channels = getattr(model.backbone, 'in_channels', 3)
    size = size * ndim if len(size) == 1 else size[:ndim]
    cost = measure(model, (channels, *size))

    table = Table(
        'part', 'multiply-adds', title=' x '.join(map(str, [channels, *size]))
    )
    table.columns[1].justify = 'right'
    for name, value in cost.macs.items():
        table.add_row(name, f'{value:,}')
    table.add_section()
    table.add_row('total', f'{cost.total:,}')
    Console().print(table)
    print(f'Size of the input: {source}')
    print(f'Params: {cost.parameters:,} ({cost.parameters / 1e6:.1f} M)')
    print(
        f'FLOPs: {cost.total:,} ({cost.total / 1e9:.2f} G): multiply-adds of '
        'convolutions and linear layers, one each, as the paper counts.\n'
        f'Not in it: making kernels from points, {cost.kernel_macs:,} '
        f'({cost.kernel_macs / 1e9:.2f} G) once a training step, whatever the batch, '
        'nothing in eval mode and deploy form; norms, activations, pooling, additions.'
    )


if __name__ == '__main__':
    main()
