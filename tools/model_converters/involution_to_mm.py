"""Convert a checkpoint of the involution or C-volution repository into ours.

Classifiers, detectors and segmenters; the config says which model it is. A classifier
with the config of a detector or segmenter becomes the backbone that it starts from. The
stem of a published classifier has 3x3 kernels, that of a detector or segmenter 7x7.
"""

from __future__ import annotations

from smpconv_mm.convert.command import run


def main(argv: list[str] | None = None) -> None:
    run('involution', __doc__, argv)


if __name__ == '__main__':
    main()
