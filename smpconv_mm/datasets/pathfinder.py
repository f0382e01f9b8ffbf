"""Pathfinder: whether two dots lie on the same dashed path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mmpretrain.datasets import BaseDataset

from smpconv_mm.registry import DATASETS

_URL = 'https://storage.googleapis.com/long-range-arena/lra_release.gz'
_SPLITS = dict(train=(0.0, 0.8), val=(0.8, 0.9), test=(0.9, 1.0))


@DATASETS.register_module()
class Pathfinder(BaseDataset):
    """Pathfinder of the Long Range Arena, 200,000 grey images in two classes.

    Source: Linsley et al., NeurIPS 2018, and Tay et al., "Long Range Arena", ICLR 2021.
    The folder is one of a resolution and difficulty of the release, in the benchmark
    ``lra_release/pathfinder32/curv_contour_length_14``, the hard one. In it
    ``metadata/*.npy`` are text files with a line an image, whose first, second and
    fourth words are its folder, its name and its class. Samples have ``img_path`` and
    ``gt_label``, 1 if there is a path.

    There is no official split: the images, by the numbers of the text files and in the
    order of their lines, are permuted by a fixed seed, and 80 % are for training, 10 %
    for validation, 10 % for the test.

    Args:
        data_root (str): The folder.
        split (str): ``'train'``, ``'val'`` or ``'test'``. Defaults to ``'train'``.
        verify (bool): Check the number of images. Defaults to True.
        **kwargs: Of mmpretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: If there are no text files; says where to get them.
        ValueError: If a line is damaged, or an argument wrong.
    """

    METAINFO = dict(classes=('no path', 'path'))
    NUMBER = 200_000
    EMPTY = 'curv_baseline/imgs/0/sample_172.png'  # in the release, of 32 pixels

    def __init__(
        self, data_root: str, split: str = 'train', verify: bool = True, **kwargs
    ) -> None:
        if split not in _SPLITS:
            raise ValueError(f"split must be 'train', 'val' or 'test', got {split!r}")
        self.split, self.verify = split, verify
        self.root = Path(data_root).expanduser()
        super().__init__(ann_file='', data_root=str(data_root), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the text files, and keep the images of the split."""
        files = [p for p in self.root.glob('metadata/*.npy') if p.stem.isdigit()]
        if not files:
            raise FileNotFoundError(
                f'{self.root / "metadata"} does not exist or has no files 0.npy, '
                f'1.npy, ...; get {_URL} and unpack it'
            )
        samples = [
            sample
            for file in sorted(files, key=lambda path: int(path.stem))
            for sample in self._read(file)
        ]
        if self.verify and len(samples) not in (self.NUMBER, self.NUMBER - 1):
            raise ValueError(
                f'{self.root}: {len(samples)} images, the published set has '
                f'{self.NUMBER}; get it again, or set verify=False for data of your '
                'own in this format'
            )
        order = np.random.RandomState(0).permutation(len(samples))
        first, end = (int(share * len(order)) for share in _SPLITS[self.split])
        return [samples[i] for i in order[first:end]]

    def _read(self, file: Path) -> list[dict]:
        samples = []
        for number, line in enumerate(file.read_text().splitlines(), 1):
            words = line.split()
            if len(words) < 4 or words[3] not in ('0', '1'):
                raise ValueError(
                    f'{file}, line {number}: expected a folder, a name, a number and '
                    f'the class 0 or 1, got {line[:60]!r}; get the file again'
                )
            path = self.root / words[0] / words[1]
            if not path.as_posix().endswith(self.EMPTY):
                samples.append(dict(img_path=str(path), gt_label=int(words[3])))
        return samples

    def extra_repr(self) -> list[str]:
        """Lines for ``repr``."""
        return [f'Folder: \t{self.root}', f'Split: \t{self.split}']
