"""Handwritten digits that come with scikit-learn: real data, no download."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from mmpretrain.datasets import BaseDataset
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from smpconv_mm.registry import DATASETS

from .transforms.sequence import pixel_permutation


@DATASETS.register_module()
class Digits(BaseDataset):
    """UCI optical recognition of handwritten digits, 1,797 images of 8x8.

    The file is part of scikit-learn (``sklearn.datasets.load_digits``); source:
    Alpaydin and Kaynak, 1998, UCI Machine Learning Repository.

    Each sample has ``img``, ``gt_label`` and ``digits_idx``, its place in the
    whole set. ``img`` is an (8, 8, 3) uint8
    array, grey repeated three times as an image loader gives it, or with
    ``sequence=True`` a (1, length) float32 tensor: the pixels row by row, channels
    first. Values are 0 to 255 in both.

    Args:
        split (str): ``'train'``, ``'test'`` or ``'all'``.
        sequence (bool): Sequences instead of images. Defaults to False.
        test_size (float): Share of the test split, which is stratified by
            class. Defaults to 0.2.
        seed (int): Seed of the split. Defaults to 0.
        length (int): Samples of a sequence: the 64 pixels, or a linear
            interpolation of them with the first and the last kept, as if
            recorded at another sampling rate. Defaults to 64.
        permutation_seed (int, optional): Permute all sequences by
            :func:`~.transforms.sequence.pixel_permutation`, which is kept in
            ``metainfo['permutation']``. Defaults to None: not permuted.
        **kwargs: Of mmpretrain's ``BaseDataset`` (``pipeline``,
            ``test_mode``, ...).

    Raises:
        ValueError: If ``split``, ``test_size``, ``length`` or
            ``permutation_seed`` is wrong.
    """

    METAINFO = dict(classes=tuple('0123456789'))

    def __init__(
        self,
        split: str = 'train',
        sequence: bool = False,
        test_size: float = 0.2,
        seed: int = 0,
        length: int = 64,
        permutation_seed: int | None = None,
        **kwargs,
    ) -> None:
        if split not in ('train', 'test', 'all'):
            raise ValueError(f"split must be 'train', 'test' or 'all', got {split!r}")
        if not 0 < test_size < 1:
            raise ValueError(f'test_size must lie between 0 and 1, got {test_size}')
        self.split = split
        self.sequence = sequence
        self.test_size = test_size
        self.seed = seed
        if length < 2:
            raise ValueError(f'length must be at least 2, got {length}')
        self.length = length
        if permutation_seed is not None:
            if not sequence:
                raise ValueError(
                    f'permutation_seed={permutation_seed} is for sequences; set '
                    'sequence=True or leave it out'
                )
            order = pixel_permutation(64, permutation_seed).tolist()
            kwargs['metainfo'] = dict(
                kwargs.get('metainfo') or {}, permutation=tuple(order)
            )
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the images and keep those of the split."""
        digits = load_digits()
        pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        labels = digits.target
        index = np.arange(len(labels))
        if self.split != 'all':
            train, test = train_test_split(
                index,
                test_size=self.test_size,
                stratify=labels,
                random_state=self.seed,
            )
            index = train if self.split == 'train' else test
        return [
            dict(
                img=self._format(pixels[i]), gt_label=int(labels[i]), digits_idx=int(i)
            )
            for i in index
        ]

    def _format(self, image: np.ndarray):
        if self.sequence:
            sequence = image.reshape(1, 64).astype(np.float32)
            order = self.metainfo.get('permutation', slice(None))
            sequence = torch.from_numpy(sequence[:, order])
            return F.interpolate(
                sequence[None], self.length, mode='linear', align_corners=True
            )[0]
        return np.repeat(image[..., None], 3, axis=-1)

    def extra_repr(self) -> list[str]:
        """Lines for ``repr``."""
        return [f'Split: \t{self.split} (seed {self.seed})']
