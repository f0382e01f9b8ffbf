"""MNIST and CIFAR, as images and, by their pipelines, as sequences.

mmpretrain's datasets with three differences: nothing is downloaded; the Python
pickles of CIFAR, which mmpretrain executes, are read by an unpickler that makes
arrays and plain values and refuses everything else; and images of CIFAR have
OpenCV's order of channels.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from pathlib import Path

import numpy as np
from mmpretrain.datasets import CIFAR10 as MMCIFAR10
from mmpretrain.datasets import CIFAR100 as MMCIFAR100
from mmpretrain.datasets import MNIST as MMMNIST
from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.mnist import read_sn3_pascalvincent_tensor

from smpconv_mm.registry import DATASETS

from .transforms.sequence import pixel_permutation


def check_md5(path: Path, expected: str, url: str) -> None:
    """Compare a file with the MD5 sum that its publisher gives.

    Raises:
        ValueError: If they differ.
    """
    found = hashlib.md5(path.read_bytes()).hexdigest()
    if found != expected:
        raise ValueError(
            f'{path}: MD5 sum {found}, the published file has {expected}; the file is '
            f'damaged or another one. Get it again from {url}, or set verify=False of '
            'the dataset for data of your own in this format'
        )


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Read an idx file of bytes, gzipped if its name ends in ``.gz``.

    Args:
        path (Path): The file.
        ndim (int): Dimensions that it must have.

    Returns:
        np.ndarray: uint8, of the shape that the header says.

    Raises:
        ValueError: If the file is cut, not idx, or has other dimensions.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'The given NumPy array is not writable')
            values = read_sn3_pascalvincent_tensor(str(path)).numpy()
    except Exception as error:  # mmpretrain's reader raises what it stumbles over
        raise ValueError(
            f'{path} ({path.stat().st_size} bytes): not an idx file, or cut or damaged '
            f'({type(error).__name__}: {error}); get it again'
        ) from error
    if values.dtype != np.uint8 or values.ndim != ndim:
        raise ValueError(
            f'{path}: an idx file of {values.dtype} with {values.ndim} dimensions, '
            f'expected uint8 with {ndim}; get it again'
        )
    return values


def _bytes_of(text: str, encoding: str) -> bytes:
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'it asks for the encoding {encoding}')
    return text.encode('latin1')


def _array_of(buffer: bytes, dtype: np.dtype, shape: tuple, order: str) -> np.ndarray:
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


class _ArraysOnly(pickle.Unpickler):
    """Makes what a CIFAR batch holds: dicts, lists, text, numbers and arrays."""

    # the first name is that of the published files, the second NumPy 2's
    _ALLOWED = {
        ('numpy.core.multiarray', '_reconstruct'),
        ('numpy._core.multiarray', '_reconstruct'),
        ('numpy', 'ndarray'),
        ('numpy', 'dtype'),
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ('_codecs', 'encode'):  # bytes in protocols 0 to 2
            return _bytes_of
        if module.endswith('core.numeric') and name == '_frombuffer':  # protocol 5
            return _array_of
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f'it asks for {module}.{name}')
        if name == '_reconstruct':
            return np.empty(0).__reduce__()[0]
        return getattr(np, name)


def read_cifar_pickle(path: Path, label_key: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a batch of CIFAR's Python version without running anything in it.

    Args:
        path (Path): The file.
        label_key (str): ``'labels'`` or ``'fine_labels'``.

    Returns:
        tuple[np.ndarray, np.ndarray]: Images, uint8, (N, 3, 32, 32) in RGB order,
        and labels, int64, (N,).

    Raises:
        ValueError: If the file is cut, is no such batch, or asks for anything
            but arrays and plain values.
    """
    try:
        batch = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding='latin1').load()
    except Exception as error:  # a damaged pickle raises a dozen types
        refused = isinstance(error, pickle.UnpicklingError) and 'asks for' in str(error)
        why = 'was refused, as it could run code' if refused else 'is cut or damaged'
        raise ValueError(
            f'{path}: the pickle {why} ({type(error).__name__}: {error}); get it again'
        ) from error
    data = batch.get('data') if isinstance(batch, dict) else None
    labels = batch.get(label_key) if isinstance(batch, dict) else None
    if (
        not isinstance(data, np.ndarray)
        or data.dtype != np.uint8
        or data.ndim != 2
        or data.shape[1] != 3072
        or not isinstance(labels, list)
        or len(labels) != len(data)
        or not all(type(label) is int for label in labels)
    ):
        raise ValueError(
            f'{path}: not a batch of CIFAR images: expected a dict with "data", '
            f'(N, 3072) bytes, and "{label_key}", N whole numbers; get it again'
        )
    return data.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64)


def read_cifar_binary(path: Path, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read a batch of CIFAR's binary version; see :func:`read_cifar_pickle`.

    Args:
        path (Path): The file.
        label_bytes (int): Bytes before each image, the last being the label.

    Raises:
        ValueError: If the file does not consist of whole images.
    """
    data = np.frombuffer(path.read_bytes(), np.uint8)
    record = label_bytes + 3072
    if not len(data) or len(data) % record:
        raise ValueError(
            f'{path}: {len(data)} bytes are no whole number of images, which take '
            f'{record} bytes each; the file is cut or damaged, get it again'
        )
    data = data.reshape(-1, record)
    labels = data[:, label_bytes - 1].astype(np.int64)
    return data[:, label_bytes:].reshape(-1, 3, 32, 32), labels


class SmallImages(BaseDataset):
    """What the sets below add to mmpretrain's of the same name.

    Args:
        data_root (str): Folder of the files.
        split (str): ``'train'`` or ``'test'``. Neither set has a validation
            split; the published recipes evaluate on the test split after every
            epoch.
        permutation_seed (int, optional): Adds ``permutation`` to each sample,
            a fixed order of the pixels for
            :class:`~smpconv_mm.datasets.transforms.ImageToSequence`, and to the
            metainfo, which checkpoints keep. Defaults to None, no permutation.
        verify (bool): Check MD5 sums and numbers of samples of the published
            files. False is for data of one's own in their format. Defaults to
            True.
        **kwargs: Of mmpretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: If a file is missing; says where to get it.
        ValueError: If a file is damaged, or an argument wrong.
    """

    PIXELS: int
    SIZES: dict[str, int]

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        permutation_seed: int | None = None,
        verify: bool = True,
        metainfo: dict | None = None,
        **kwargs,
    ) -> None:
        if split not in ('train', 'test'):
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        self.permutation_seed = permutation_seed
        self.verify = verify
        self.root = Path(data_root).expanduser()
        metainfo = dict(metainfo or {})
        if permutation_seed is not None:
            self.permutation = pixel_permutation(self.PIXELS, permutation_seed)
            metainfo['permutation'] = tuple(self.permutation.tolist())
        super().__init__(
            data_root=str(data_root), split=split, metainfo=metainfo, **kwargs
        )

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels of the split, one row per image."""
        raise NotImplementedError

    def load_data_list(self) -> list[dict]:
        """Read the files of the split."""
        images, labels = self.read()
        if self.verify and len(images) != self.SIZES[self.split]:
            raise ValueError(
                f'{self.root}: {len(images)} images in split {self.split!r}, the '
                f'published set has {self.SIZES[self.split]}; get the files again, or '
                'set verify=False for data of your own in this format'
            )
        classes = len(self.metainfo['classes'])
        wrong = labels[(labels < 0) | (labels >= classes)]
        if len(wrong):
            raise ValueError(
                f'{self.root}: label {wrong[0]} in split {self.split!r}, but there '
                f'are {classes} classes; the files are damaged, get them again'
            )
        return [
            dict(img=image, gt_label=label)
            for image, label in zip(images, labels.tolist())
        ]

    def get_data_info(self, idx: int) -> dict:
        """The sample, with the order of its pixels if there is one."""
        info = super().get_data_info(idx)
        if self.permutation_seed is not None:
            info['permutation'] = self.permutation
        return info

    def extra_repr(self) -> list[str]:
        """Lines for ``repr``."""
        return [
            f'Folder: \t{self.root}',
            f'Split: \t{self.split}',
            f'Permutation: \t{self.permutation_seed}',
        ]


@DATASETS.register_module()
class MNIST(SmallImages, MMMNIST):
    """MNIST handwritten digits, 60,000 and 10,000 images of 28x28.

    Source: LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist. The
    folder holds the four files, as published (``train-images-idx3-ubyte.gz``,
    ...) or unpacked (without ``.gz``). MD5 sums are published for the gzipped
    files only. Samples have ``img``, a (28, 28) uint8 array, and ``gt_label``.
    Arguments and errors: see :class:`SmallImages`.
    """

    PIXELS = 784
    SIZES = dict(train=60000, test=10000)
    URL = 'https://ossci-datasets.s3.amazonaws.com/mnist/'

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Images, (N, 28, 28), and labels, (N,), of the split."""
        files = self.train_list if self.split == 'train' else self.test_list
        images, labels = (
            self._read_file(name, md5, ndim) for (name, md5), ndim in zip(files, (3, 1))
        )
        if images.shape[1:] != (28, 28) or len(images) != len(labels):
            raise ValueError(
                f'{self.root}: split {self.split!r} has images {images.shape} and '
                f'{len(labels)} labels; expected as many labels as images of 28 x 28'
            )
        return images, labels.astype(np.int64)

    def _read_file(self, name: str, md5: str, ndim: int) -> np.ndarray:
        path = self.root / name
        if path.is_file():
            if self.verify:
                check_md5(path, md5, self.URL + name)
        else:
            path = path.with_suffix('')
        if not path.is_file():
            raise FileNotFoundError(
                f'{path}.gz does not exist, and {path.name} neither: {self.root} must '
                'hold the four files of MNIST (train-images-idx3-ubyte.gz, '
                'train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, '
                f't10k-labels-idx1-ubyte.gz); get them from {self.URL}'
            )
        return read_idx(path, ndim)


@DATASETS.register_module()
class CIFAR10(SmallImages, MMCIFAR10):
    """CIFAR-10, 50,000 and 10,000 colour images of 32x32 in 10 classes.

    Source: Krizhevsky, 2009, https://www.cs.toronto.edu/~kriz/cifar.html. The
    folder holds the unpacked Python version (``cifar-10-batches-py/``) or
    binary version (``cifar-10-batches-bin/``); if both, the first is read. MD5
    sums are published for the files of the first only. Samples have ``img``, a
    (32, 32, 3) uint8 array in BGR order, as OpenCV loads images, and
    ``gt_label``. Arguments and errors: see :class:`SmallImages`.
    """

    PIXELS = 1024
    SIZES = dict(train=50000, test=10000)
    LABEL_KEY = 'labels'
    LABEL_BYTES = 1
    BINARY = 'cifar-10-batches-bin'

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Images, (N, 32, 32, 3) in BGR order, and labels, (N,), of the split."""
        files = self.train_list if self.split == 'train' else self.test_list
        folder = self.root / self.base_folder
        binary = self.root / self.BINARY
        if folder.is_dir():
            paths = [folder / name for name, _ in files]
        elif binary.is_dir():
            paths = [binary / f'{name}.bin' for name, _ in files]
        else:
            paths = [folder]
        batches = []
        for path, (_, md5) in zip(paths, files):
            if not path.exists():
                raise FileNotFoundError(
                    f'{path} does not exist: {self.root} must hold the folder '
                    f'{folder.name} (or {self.BINARY}) with the files of the split; '
                    f'get {self.url} and unpack it there'
                )
            if path.parent == binary:
                batches.append(read_cifar_binary(path, self.LABEL_BYTES))
            else:
                if self.verify:
                    check_md5(path, md5, self.url)
                batches.append(read_cifar_pickle(path, self.LABEL_KEY))
        images, labels = map(np.concatenate, zip(*batches))
        return np.ascontiguousarray(images[:, ::-1].transpose(0, 2, 3, 1)), labels


@DATASETS.register_module()
class CIFAR100(CIFAR10, MMCIFAR100):
    """CIFAR-100, 50,000 and 10,000 colour images of 32x32 in 100 classes.

    As :class:`CIFAR10`, with the folders ``cifar-100-python/`` and
    ``cifar-100-binary/``; the labels are the fine ones.
    """

    LABEL_KEY = 'fine_labels'
    LABEL_BYTES = 2
    BINARY = 'cifar-100-binary'
