"""Convert a checkpoint of the CCNN repository into ours.

The config says which model it is; the taps of its kernels must stand there where the
file does not know them.
"""

from __future__ import annotations

from smpconv_mm.convert.command import run


def main(argv: list[str] | None = None) -> None:
    run('ccnn', __doc__, argv)


if __name__ == '__main__':
    main()
