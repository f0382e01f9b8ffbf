"""Sequences of symbols of the Long Range Arena: ListOps and film reviews.

Tay et al., "Long Range Arena", ICLR 2021. Symbols are numbers in one channel, as CCNN
(arXiv 2206.03398) reads them; which number a symbol has is our choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmpretrain.datasets import BaseDataset

from smpconv_mm.registry import DATASETS


class Symbols(BaseDataset):
    """What the sets below share.

    Samples have ``img``, float32 of shape (1, length): the numbers of the symbols,
    which are at least 1, after zeros; and ``gt_label``.

    Args:
        data_root (str): Folder of the files.
        split (str): One of those of the set. Defaults to ``'train'``.
        length (int, optional): Numbers a sample; what is longer loses its end. Defaults
            to None: as published.
        verify (bool): Check the number of samples. Defaults to True.
        **kwargs: Of mmpretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: If a file is missing; says where to get it.
        ValueError: If a file is damaged, or an argument wrong.
    """

    SIZES: dict[str, int]
    LENGTH: int

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        length: int | None = None,
        verify: bool = True,
        **kwargs,
    ) -> None:
        if split not in self.SIZES:
            raise ValueError(f'split must be one of {list(self.SIZES)}, got {split!r}')
        self.length = self.LENGTH if length is None else length
        if self.length < 1:
            raise ValueError(f'length must be positive, got {length}')
        self.split, self.verify = split, verify
        self.root = Path(data_root).expanduser()
        super().__init__(ann_file='', data_root=str(data_root), **kwargs)

    def read(self) -> Iterator[tuple[bytes, int]]:
        """Numbers of the symbols of each sample, a byte each, and its class."""
        raise NotImplementedError

    def load_data_list(self) -> list[dict]:
        """Read the samples of the split."""
        samples = [
            dict(symbols=symbols[: self.length], gt_label=label)
            for symbols, label in self.read()
        ]
        if self.verify and len(samples) != self.SIZES[self.split]:
            raise ValueError(
                f'{self.root}: {len(samples)} samples in split {self.split!r}, the '
                f'published set has {self.SIZES[self.split]}; get it again, or set '
                'verify=False for data of your own in this format'
            )
        return samples

    def get_data_info(self, idx: int) -> dict:
        """The sample, as a sequence."""
        info = super().get_data_info(idx)
        symbols = np.frombuffer(info.pop('symbols'), np.uint8)
        sequence = np.zeros((1, self.length), np.float32)
        sequence[0, self.length - len(symbols) :] = symbols
        info['img'] = torch.from_numpy(sequence)
        return info

    def extra_repr(self) -> list[str]:
        """Lines for ``repr``."""
        return [f'Folder: \t{self.root}', f'Split: \t{self.split}']


@DATASETS.register_module()
class ListOps(Symbols):
    """Nested operations on lists of digits, whose result is a digit.

    Source: Nangia and Bowman, 2018; the release of the Long Range Arena, folder
    ``listops-1000`` with ``basic_train.tsv``, ``basic_val.tsv`` and ``basic_test.tsv``:
    a line a sample after the first, an expression such as ``[MAX 2 [MIN 4 7 ] 0 ]`` and
    its result. Digits are 1 to 10, ``]`` is 11, then come ``[MIN``, ``[MAX``, ``[MED``,
    ``[SM``. Round brackets, which only group, are left out. Arguments and errors: see
    :class:`Symbols`.
    """

    METAINFO = dict(classes=tuple('0123456789'))
    SIZES = dict(train=96_000, val=2_000, test=2_000)
    LENGTH = 2048
    URL = 'https://storage.googleapis.com/long-range-arena/lra_release.gz'
    SYMBOLS = (*'0123456789]', '[MIN', '[MAX', '[MED', '[SM')
    NUMBERS = dict(zip(SYMBOLS, range(1, 16)))

    def read(self) -> Iterator[tuple[bytes, int]]:
        """See :class:`Symbols`."""
        path = self.root / f'basic_{self.split}.tsv'
        if not path.is_file():
            raise FileNotFoundError(
                f'{path} does not exist; get {self.URL} and unpack it'
            )
        with path.open() as file:
            next(file, None)  # names of the columns
            for number, line in enumerate(file, 2):
                expression, _, result = line.strip().partition('\t')
                words = [word for word in expression.split() if word not in '()']
                unknown = set(words) - set(self.NUMBERS)
                if unknown or not words or result not in self.METAINFO['classes']:
                    raise ValueError(
                        f'{path}, line {number}: expected an expression, a tab and a '
                        f'digit, got {line[:60]!r}; get the file again'
                    )
                yield bytes(self.NUMBERS[word] for word in words), int(result)


@DATASETS.register_module()
class IMDB(Symbols):
    """Film reviews, negative and positive, byte by byte.

    Source: Maas et al., ACL 2011. The folder is the unpacked ``aclImdb``, of which
    ``train/neg``, ``train/pos``, ``test/neg`` and ``test/pos`` are read, in the order
    of their names. Symbols are the bytes of the text in UTF-8. Arguments and errors:
    see :class:`Symbols`.
    """

    METAINFO = dict(classes=('neg', 'pos'))
    SIZES = dict(train=25_000, test=25_000)
    LENGTH = 4096
    URL = 'https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz'

    def read(self) -> Iterator[tuple[bytes, int]]:
        """See :class:`Symbols`."""
        for label, name in enumerate(self.METAINFO['classes']):
            folder = self.root / self.split / name
            paths = sorted(folder.glob('*.txt'))
            if not paths:
                raise FileNotFoundError(
                    f'{folder} does not exist or has no .txt files; get {self.URL} and '
                    'unpack it'
                )
            for path in paths:
                yield path.read_bytes().replace(b'\0', b''), label
