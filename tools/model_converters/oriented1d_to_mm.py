"""Convert a checkpoint of the Oriented1D repository into ours.

For the config of a detector or segmenter the result is its backbone, with taps cut to
those that were trained; the source is then a classifier (of the authors, or trained
with this package) or a backbone.
"""

from __future__ import annotations

from smpconv_mm.convert.command import run


def main(argv: list[str] | None = None) -> None:
    run('oriented1d', __doc__, argv)


if __name__ == '__main__':
    main()
