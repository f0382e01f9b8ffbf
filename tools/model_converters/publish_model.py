"""Strip a checkpoint to its weights and name it after their hash."""

from __future__ import annotations

import argparse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='checkpoint of a training')
    parser.add_argument('dst', help='name to write, e.g. smpnet-tiny_in1k.pth')
    args = parser.parse_args(argv)

    from smpconv_mm.convert.files import publish_file
    from smpconv_mm.errors import plain_errors

    with plain_errors():
        print(f'written to {publish_file(args.src, args.dst)}')


if __name__ == '__main__':
    main()
