"""Character Trajectories: pen movements of handwritten letters."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from smpconv_mm.registry import DATASETS

from .series import TimeSeries

_URL = (
    'http://www.timeseriesclassification.com/Downloads/Archives/Multivariate2018_ts.zip'
)


def read_ts(path: Path) -> tuple[list[np.ndarray], list[str]]:
    """Read a ``.ts`` file of the UEA and UCR time series archive.

    Lines that begin with ``#`` are comments and those with ``@`` the header,
    which ends at ``@data``. Each further line is a series: values of a channel
    are separated by commas, channels by colons, the last of which stands before
    the class. ``?`` is a missing value.

    Returns:
        tuple[list[np.ndarray], list[str]]: Series, float32, (C, L) with L
        different for each, NaN where values are missing; and their classes.

    Raises:
        ValueError: If the file is not such a file; names the line.
    """
    series, labels = [], []
    header: dict[str, str] = {}
    in_data = False
    # comments may be in any encoding
    lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith('#'):
            continue
        if not in_data:
            if not line.startswith('@'):
                raise ValueError(
                    f'{path}, line {number}: not a .ts file: expected a header line '
                    f'that begins with "@", got {line[:40]!r}'
                )
            name, _, value = line[1:].partition(' ')
            header[name.lower()] = value.strip()
            in_data = name.lower() == 'data'
            if header.get('timestamps', 'false').lower() == 'true':
                raise ValueError(
                    f'{path}, line {number}: series with time stamps are not supported'
                )
            continue
        *channels, label = line.split(':')
        try:
            series.append(_parse(channels, int(header.get('dimensions', 0))))
        except ValueError as error:
            raise ValueError(
                f'{path}, line {number}: {error}; the file is cut or damaged, get it '
                'again'
            ) from error
        labels.append(label.strip())
        classes = header.get('classlabel', '').split()[1:]
        if classes and labels[-1] not in classes:
            raise ValueError(
                f'{path}, line {number}: class {labels[-1]!r} is not among the '
                f'{len(classes)} of the header; the file is cut or damaged, get it '
                'again'
            )
    if not series:
        raise ValueError(f'{path}: no series after "@data"; get the file again')
    return series, labels


def _parse(channels: list[str], expected: int) -> np.ndarray:
    """(C, L) array of a line's channels."""
    if not channels or (expected and len(channels) != expected):
        raise ValueError(f'{len(channels)} channels, expected {expected or "some"}')
    rows = [[_number(text) for text in channel.split(',')] for channel in channels]
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise ValueError(f'channels of different lengths {sorted(lengths)}')
    return np.array(rows, dtype=np.float32)


def _number(text: str) -> float:
    if text.strip() == '?':
        return math.nan
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f'{text.strip()!r} is not a finite number')
    return value


def pad_with_last(series: np.ndarray, length: int) -> np.ndarray:
    """Repeat the last value of each channel; (C, L) to (C, length)."""
    return np.pad(series, ((0, 0), (0, length - series.shape[-1])), mode='edge')


@DATASETS.register_module()
class CharTrajectories(TimeSeries):
    """Character Trajectories, 2,858 series of 3 channels in 20 classes.

    Source: Williams, Toussaint and Storkey, 2006; the files
    ``CharacterTrajectories_TRAIN.ts`` and ``_TEST.ts`` of the UEA archive
    (Bagnall et al., 2018), which ``data_root`` holds. Both are joined, the first
    one first, and split anew. Series are 182 steps long, shorter ones padded at
    the end with their last values; classes are numbered in the order in which
    they appear. The publisher gives no checksum; with ``verify`` the numbers are
    checked. Arguments and errors: see :class:`~.series.TimeSeries`.
    """

    def sources(self) -> list[Path]:
        """The two files."""
        paths = [
            self.root / f'CharacterTrajectories_{part}.ts' for part in ('TRAIN', 'TEST')
        ]
        for path in paths:
            if not path.is_file():
                raise FileNotFoundError(
                    f'{path} does not exist: {self.root} must hold '
                    'CharacterTrajectories_TRAIN.ts and CharacterTrajectories_TEST.ts; '
                    f'they lie in Multivariate_ts/CharacterTrajectories/ of {_URL}'
                )
        return paths

    def convert(
        self, paths: list[Path], allocate: Callable[..., np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Read both files, pad the series and number the classes."""
        series, labels = [], []
        for path in paths:
            part, names = read_ts(path)
            series += part
            labels += names
            for index, values in enumerate(part):
                if np.isnan(values).any():
                    raise ValueError(
                        f'{path}: series {index} has missing values ("?"), the '
                        'published set has none; get the file again'
                    )
                if len(values) != len(series[0]):
                    raise ValueError(
                        f'{path}: series {index} has {len(values)} channels, those '
                        f'before it have {len(series[0])}; get the file again'
                    )
        classes = list(dict.fromkeys(labels))
        length = max(values.shape[1] for values in series)
        array = allocate(len(series), len(series[0]), length)
        for row, values in zip(array, series):
            row[:] = pad_with_last(values, length)
        return array, np.array([classes.index(label) for label in labels]), classes

    def numbers(self) -> tuple[int, int, int, int]:
        """Series, classes, channels and length of the published set."""
        return 2858, 20, 3, 182
