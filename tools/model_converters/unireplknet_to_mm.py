"""Convert a checkpoint of UniRepLKNet into ours.

In training or in deploy form, which the result keeps. The config says which model it
is; for the config of a detector or segmenter the result is its backbone.
"""

from __future__ import annotations

from smpconv_mm.convert.command import run


def main(argv: list[str] | None = None) -> None:
    run('unireplknet', __doc__, argv)


if __name__ == '__main__':
    main()
