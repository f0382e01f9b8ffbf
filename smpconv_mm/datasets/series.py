"""Time series: splits, irregular sampling, normalisation, cache.

Constants are those of SMPConv (CVPR 2023) and of the works that it compares
itself with.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import MMLogger
from mmpretrain.datasets import BaseDataset
from sklearn.model_selection import train_test_split

from smpconv_mm.checkpoint import atomic_path

DROP_SEED = 56789
SPLITS = ('train', 'val', 'test')
# Series handled at once: bounds the memory of long ones
_CHUNK = 256
# Part of the cache's key: count up when the processing changes
_VERSION = 1


def split_indices(labels: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """Stratified split: 70 % train; the rest in halves, val and test.

    Args:
        labels (np.ndarray): Class of each sample, integers, shape (N,).
        names (list[str]): Names of the classes, for messages.

    Returns:
        dict[str, np.ndarray]: Indices of ``'train'``, ``'val'``, ``'test'``.

    Raises:
        ValueError: If a class has too few samples for a part in each split.
    """
    counts = np.bincount(labels, minlength=len(names))
    try:
        train, rest = train_test_split(
            np.arange(len(labels)), test_size=0.3, stratify=labels, random_state=0
        )
        val, test = train_test_split(
            rest, test_size=0.5, stratify=labels[rest], random_state=1
        )
    except ValueError as error:
        raise ValueError(
            f'{len(labels)} samples cannot be split by class into 70 % train, 15 % val '
            f'and 15 % test: the smallest class is {names[counts.argmin()]!r} with '
            f'{counts.min()} samples ({error}); eight samples a class are enough'
        ) from error
    return dict(train=train, val=val, test=test)


def drop_values(series: np.ndarray, rate: int) -> None:
    """Make ``rate`` percent of the places of each series NaN, in place.

    All channels lose the same places. One generator serves the samples in
    order, so the result depends on nothing but shape and rate.

    Args:
        series (np.ndarray): float32, shape (N, C, L).
        rate (int): Percent, 1 to 99.
    """
    length = series.shape[-1]
    generator = torch.Generator().manual_seed(DROP_SEED)
    for sample in series:
        order = torch.randperm(length, generator=generator)
        sample[:, order[: int(length * rate / 100)].numpy()] = np.nan


def time_statistics(
    series: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unbiased standard deviation at each time, over samples and channels.

    Args:
        series (np.ndarray): Shape (N, C, L); NaN is left out.
        rows (np.ndarray): The samples to take, indices.

    Returns:
        tuple[np.ndarray, np.ndarray]: float32, shape (L,) each. Where fewer than
        two values are known the deviation is 1, and without any the mean is 0.
    """
    rows = np.sort(rows)  # in the order of the file
    chunks = [rows[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK)]
    count = np.zeros(series.shape[-1])
    total = np.zeros(series.shape[-1])
    squares = np.zeros(series.shape[-1])
    for chunk in chunks:
        values = series[chunk].astype(np.float64)
        count += (~np.isnan(values)).sum((0, 1))
        total += np.nansum(values, (0, 1))
    mean = total / np.maximum(count, 1)
    for chunk in chunks:
        squares += np.nansum((series[chunk] - mean) ** 2, (0, 1))
    std = np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)), 1)
    return mean.astype(np.float32), std.astype(np.float32)


def normalise(series: np.ndarray, mean: np.ndarray, std: np.ndarray) -> None:
    """(x - mean) / (std + 1e-5) at each time, in place; NaN stays NaN."""
    for start in range(0, len(series), _CHUNK):
        series[start : start + _CHUNK] -= mean
        series[start : start + _CHUNK] /= std + np.float32(1e-5)


class TimeSeries(BaseDataset):
    """Base of the sets of time series.

    A series loses values (``drop_rate``), is normalised at each time by the
    statistics of the training split, over all its samples and channels, and is
    kept in a file from which samples are read as they are needed. That file is
    made once for all splits, and anew when its sources have changed or it is
    not whole; a ``.json`` file beside it holds labels and statistics.

    Samples have ``img``, a float32 tensor (C, L), ``gt_label`` and
    ``series_idx``, the place in the whole set. With ``drop_rate`` missing
    values are 0 and one more channel says 1 where values are known, 0 where not.

    Splits are stratified by class: 70 % ``'train'``, 15 % ``'val'``, 15 %
    ``'test'``. (The published program has the same three and evaluates on the
    last while training; here ``'val'`` is for that.)

    Args:
        data_root (str): Folder of the files.
        split (str): ``'train'``, ``'val'`` or ``'test'``.
        drop_rate (int): Percent of the places that are dropped, 0 to 99; 30, 50
            and 70 in the paper. Defaults to 0.
        verify (bool): Check that the set has the numbers of samples that the
            published one has. False is for data of one's own in its format.
            Defaults to True.
        cache_dir (str, optional): Folder for the processed data. Defaults to
            None: ``processed`` in ``data_root``.
        **kwargs: Of mmpretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: If a file is missing; says where to get it.
        ValueError: If a file is damaged, or an argument wrong.
    """

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        drop_rate: int = 0,
        verify: bool = True,
        cache_dir: str | None = None,
        **kwargs,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split must be 'train', 'val' or 'test', got {split!r}")
        if not isinstance(drop_rate, int) or not 0 <= drop_rate < 100:
            raise ValueError(
                f'drop_rate is a whole number of percent, 0 to 99, got {drop_rate!r}'
            )
        self.split = split
        self.drop_rate = drop_rate
        self.verify = verify
        self.root = Path(data_root).expanduser()
        folder = Path(cache_dir).expanduser() if cache_dir else self.root / 'processed'
        self.cache = folder / f'{self.cache_name()}-drop{drop_rate}.npy'
        self._series = None
        super().__init__(ann_file='', data_root=data_root, **kwargs)

    def cache_name(self) -> str:
        """Stem of the file of processed data."""
        return type(self).__name__.lower()

    def sources(self) -> list[Path]:
        """The files that are read, in order."""
        raise NotImplementedError

    def convert(
        self, paths: list[Path], allocate: Callable[..., np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Read the sources.

        Args:
            paths (list[Path]): What :meth:`sources` gave.
            allocate (Callable): Called with N, C and L, gives the float32 array
                (in a file) to fill.

        Returns:
            tuple: That array, the class of each series, int64, (N,), and the
            names of the classes.
        """
        raise NotImplementedError

    def load_data_list(self) -> list[dict]:
        """List the samples of the split; processes the sources where needed."""
        paths = self.sources()
        key = self._key(paths)
        if is_main_process() and self._meta(key) is None:
            self._process(paths, key)
        barrier()
        meta = self._meta(key)
        if meta is None:  # a process of another machine, with disks of its own
            self._process(paths, key)
            meta = self._meta(key)
        self._metainfo.setdefault('classes', tuple(meta['classes']))
        labels = np.array(meta['labels'])
        rows = split_indices(labels, meta['classes'])[self.split]
        return [dict(gt_label=int(labels[i]), series_idx=int(i)) for i in rows]

    def get_data_info(self, idx: int) -> dict:
        """The sample, read from the file of processed data."""
        info = super().get_data_info(idx)
        if self._series is None:
            self._series = np.load(self.cache, mmap_mode='r', allow_pickle=False)
        series = torch.from_numpy(np.array(self._series[info['series_idx']]))
        if self.drop_rate:
            known = ~series[:1].isnan()
            series = torch.cat([series.nan_to_num(0), known.float()])
        info['img'] = series
        return info

    def extra_repr(self) -> list[str]:
        """Lines for ``repr``."""
        return [
            f'Folder: \t{self.root}',
            f'Split: \t{self.split}',
            f'Dropped: \t{self.drop_rate} %',
        ]

    def __getstate__(self) -> dict:
        # a mapped file would be sent to spawned workers as its contents
        return {**self.__dict__, '_series': None}

    def _key(self, paths: list[Path]) -> str:
        """Hash of all that the processed data depend on."""
        stats = [(path, path.stat()) for path in paths]
        files = [
            (str(path.relative_to(self.root)), stat.st_size, stat.st_mtime_ns)
            for path, stat in stats
        ]
        text = json.dumps([_VERSION, self.cache.stem, files])
        return hashlib.sha256(text.encode()).hexdigest()

    def _meta(self, key: str) -> dict | None:
        """Labels and classes, if the processed data are whole and of this key."""
        path = self.cache.with_suffix('.json')
        if not (path.is_file() and self.cache.is_file()):
            return None
        try:
            meta = json.loads(path.read_text())
            size = self.cache.stat().st_size
            usable = meta['bytes'] == size and meta['key'] == key
        except (ValueError, KeyError, TypeError):
            usable = False
        if not usable:
            MMLogger.get_current_instance().warning(
                f'{self.cache} is not whole or its sources have changed: it is made '
                'anew'
            )
            return None
        self._check_numbers(meta['labels'], meta['classes'], meta['shape'])
        return meta

    def _process(self, paths: list[Path], key: str) -> None:
        try:
            self._write(paths, key)
        except OSError as error:
            raise OSError(
                f'processing {self.root} into {self.cache.parent} failed: {error}. If '
                'that folder cannot be written to or is full, set cache_dir of the '
                'dataset to another'
            ) from error

    def _write(self, paths: list[Path], key: str) -> None:
        with atomic_path(self.cache) as temporary:

            def allocate(*shape: int) -> np.ndarray:
                # a mapped file that outgrows the disk would kill the process
                free = shutil.disk_usage(self.cache.parent).free
                if 4 * math.prod(shape) > free:
                    raise OSError(
                        f'{4 * math.prod(shape) / 1e9:.1f} GB are needed, '
                        f'{free / 1e9:.1f} GB are free'
                    )
                return np.lib.format.open_memmap(
                    temporary, mode='w+', dtype=np.float32, shape=shape
                )

            series, labels, classes = self.convert(paths, allocate)
            self._check_numbers(labels, classes, series.shape)
            rows = split_indices(labels, classes)['train']
            if self.drop_rate:
                drop_values(series, self.drop_rate)
            mean, std = time_statistics(series, rows)
            normalise(series, mean, std)
            series.flush()
            meta = dict(
                key=key,
                bytes=temporary.stat().st_size,
                shape=series.shape,
                classes=classes,
                labels=labels.tolist(),
                mean=mean.tolist(),
                std=std.tolist(),
            )
        with atomic_path(self.cache.with_suffix('.json')) as temporary:
            temporary.write_text(json.dumps(meta))

    def _check_numbers(self, labels: list, classes: list, shape: tuple) -> None:
        """Compare with the published set if ``verify``."""
        found = (len(labels), len(classes), *shape[1:])
        if self.verify and found != self.numbers():
            raise ValueError(
                f'{self.root}: found (series, classes, channels, length) = {found}, '
                f'the published set has {self.numbers()}; files are missing or of '
                'another version. Get it again, or set verify=False of the dataset '
                'for data of your own in this format'
            )

    def numbers(self) -> tuple[int, int, int, int]:
        """Series, classes, channels and length of the published set."""
        raise NotImplementedError
