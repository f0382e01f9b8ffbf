"""Convert a checkpoint of the FlexConv or CKConv repository into ours.

The config says which model it is. Settings that are not in the file must stand there:
the length of kernels, omega_0 of CKConv, and of a network that was fine-tuned at
another resolution kernel_scale, e.g. (16 / 32) ** 2.
"""

from __future__ import annotations

from smpconv_mm.convert.command import run


def main(argv: list[str] | None = None) -> None:
    run('flexconv', __doc__, argv)


if __name__ == '__main__':
    main()
