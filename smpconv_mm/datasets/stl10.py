"""STL-10, its labelled images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mmpretrain.datasets import BaseDataset

from smpconv_mm.registry import DATASETS

from .sequential import SmallImages, check_md5


class _Split(BaseDataset):
    """A set without annotation files, which knows its split."""

    def __init__(self, split: str, **kwargs) -> None:
        self.split = split
        super().__init__(ann_file='', **kwargs)


@DATASETS.register_module()
class STL10(SmallImages, _Split):
    """STL-10, 5,000 and 8,000 labelled colour images of 96x96 in 10 classes.

    Source: Coates, Lee and Ng, AISTATS 2011, https://cs.stanford.edu/~acoates/stl10.
    The folder is the unpacked ``stl10_binary``, of which ``train_X.bin``,
    ``train_y.bin``, ``test_X.bin`` and ``test_y.bin`` are read. Samples have ``img``,
    a (96, 96, 3) uint8 array in BGR order, as OpenCV loads images, and ``gt_label``.
    Arguments and errors: see :class:`~.sequential.SmallImages`.
    """

    PIXELS = 96 * 96
    SIZES = dict(train=5000, test=8000)
    URL = 'http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz'
    MD5 = {
        'train_X.bin': '918c2871b30a85fa023e0c44e0bee87f',
        'train_y.bin': '5a34089d4802c674881badbb80307741',
        'test_X.bin': '7f263ba9f9e0b06b93213547f721ac82',
        'test_y.bin': '36f9794fa4beb8a2c72628de14fa638e',
    }
    METAINFO = dict(
        classes=(
            'airplane',
            'bird',
            'car',
            'cat',
            'deer',
            'dog',
            'horse',
            'monkey',
            'ship',
            'truck',
        )
    )

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Images, (N, 96, 96, 3) in BGR order, and labels, (N,), of the split."""
        images, labels = (self._bytes(f'{self.split}_{part}.bin') for part in 'Xy')
        record = 3 * self.PIXELS
        if len(images) != record * len(labels) or not len(labels):
            raise ValueError(
                f'{self.root}: split {self.split!r} has {len(labels)} labels and '
                f'{len(images)} bytes of images, which take {record} bytes each; the '
                'files are cut or damaged, get them again'
            )
        if labels.min() < 1:
            raise ValueError(
                f'{self.root}: label 0 in split {self.split!r}, labels are 1 to 10; '
                'the files are damaged, get them again'
            )
        # channels, then columns
        images = images.reshape(-1, 3, 96, 96)[:, ::-1].transpose(0, 3, 2, 1)
        return np.ascontiguousarray(images), labels.astype(np.int64) - 1

    def _bytes(self, name: str) -> np.ndarray:
        path = Path(self.root, name)
        if not path.is_file():
            raise FileNotFoundError(
                f'{path} does not exist: {self.root} must hold train_X.bin, '
                f'train_y.bin, test_X.bin and test_y.bin; get {self.URL} and unpack it'
            )
        if self.verify:
            check_md5(path, self.MD5[name], self.URL)
        return np.frombuffer(path.read_bytes(), np.uint8)
