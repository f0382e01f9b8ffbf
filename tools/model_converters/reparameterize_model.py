"""Bring a checkpoint into deploy form: plain convolutions with bias."""

from __future__ import annotations

import argparse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the training form')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('dst', help='file to write')
    args = parser.parse_args(argv)

    from smpconv_mm.convert.files import reparameterize_file
    from smpconv_mm.errors import plain_errors

    with plain_errors():
        error = reparameterize_file(args.config, args.checkpoint, args.dst)
    print(
        f'{args.dst}: differs by {error:.1e} (relative, float64) from the training '
        'form. Use it with --cfg-options model.backbone.deploy=True'
    )


if __name__ == '__main__':
    main()
