"""Convert a checkpoint of ConvNeXt-dcls into ours.

The config says which model it is, and which version of DCLS. For the config of a
detector or segmenter the result is its backbone.
"""

from __future__ import annotations

from smpconv_mm.convert.command import run


def main(argv: list[str] | None = None) -> None:
    run('dcls', __doc__, argv)


if __name__ == '__main__':
    main()
