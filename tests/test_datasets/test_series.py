"""Splits, irregular sampling, normalisation and cache."""

import json
import logging
import os
import pickle

import numpy as np
import pytest
import real_formats
import torch
from mmengine.logging import MMLogger

from smpconv_mm.datasets import CharTrajectories
from smpconv_mm.datasets import series as module
from smpconv_mm.datasets.series import (
    drop_values,
    normalise,
    split_indices,
    time_statistics,
)


@pytest.fixture
def root(tmp_path):
    real_formats.write_char_trajectories(tmp_path, classes=5, longest=90)
    return tmp_path


def build(root, split='train', **kwargs):
    return CharTrajectories(root, split, verify=False, **kwargs)


def series_of(dataset):
    return torch.stack([dataset.get_data_info(i)['img'] for i in range(len(dataset))])


def test_split_is_the_published_one():
    """Indices that the published program gives for labels (7 i) mod 10."""
    parts = split_indices((np.arange(997) * 7) % 10, list('abcdefghij'))
    assert {k: len(v) for k, v in parts.items()} == dict(train=697, val=150, test=150)
    assert parts['train'][:4].tolist() == [53, 746, 896, 948]
    assert parts['val'][:4].tolist() == [128, 961, 564, 102]
    assert parts['test'][:4].tolist() == [639, 555, 532, 950]
    assert sorted(np.concatenate(list(parts.values()))) == list(range(997))


@pytest.mark.parametrize(
    'number, sizes', [(2858, (2000, 429, 429)), (34975, (24482, 5246, 5247))]
)
def test_split_sizes(number, sizes):
    parts = split_indices((np.arange(number) * 7) % 10, list('abcdefghij'))
    assert tuple(map(len, parts.values())) == sizes


@pytest.mark.parametrize(
    'labels, message',
    [
        ([0] * 20 + [1], "smallest class is 'b' with 1 samples"),
        ([], 'smallest class'),
        ([0, 1, 0, 1], 'eight samples a class are enough'),
    ],
)
def test_classes_too_small_to_split(labels, message):
    with pytest.raises(ValueError, match=message):
        split_indices(np.array(labels, dtype=int), ['a', 'b'])


@pytest.mark.parametrize(
    'rate, number, first',
    [
        (30, 54, [[1, 6, 7, 11, 12, 18], [5, 8, 12, 13, 15, 16]]),
        (50, 91, [[1, 6, 7, 10, 11, 12], [5, 8, 9, 12, 13, 15]]),
        (70, 127, [[0, 1, 3, 4, 6, 7], [2, 4, 5, 6, 7, 8]]),
    ],
)
def test_dropped_places_are_the_published_ones(rate, number, first):
    series = np.zeros((3, 2, 182), np.float32)
    drop_values(series, rate)
    missing = np.isnan(series)
    assert (missing[:, 0] == missing[:, 1]).all()
    assert missing[:, 0].sum(1).tolist() == [number] * 3
    assert [np.flatnonzero(sample[0])[:6].tolist() for sample in missing[:2]] == first


@pytest.mark.parametrize('drop', [0, 50])
def test_normalised_at_each_time_by_the_training_split(drop):
    random = np.random.RandomState(0)
    series = (random.randn(700, 3, 11) * np.arange(1, 12) + 5).astype(np.float32)
    if drop:
        drop_values(series, drop)
    rows = random.permutation(700)[:600]
    values = series[rows].astype(np.float64)
    mean = np.nanmean(values, (0, 1))
    std = np.nanstd(values, (0, 1), ddof=1)
    expected = (series - mean) / (std + 1e-5)
    found = time_statistics(series, rows)
    np.testing.assert_allclose(found[0], mean, rtol=1e-6)
    np.testing.assert_allclose(found[1], std, rtol=1e-6)
    normalise(series, *found)
    np.testing.assert_allclose(series, expected, rtol=1e-5, atol=1e-6)


def test_times_of_which_little_is_known():
    series = np.array([[[1, 2, np.nan]], [[5, np.nan, np.nan]]], np.float32)
    mean, std = time_statistics(series, np.arange(2))
    assert mean.tolist() == [3, 2, 0]
    np.testing.assert_allclose(std, [8**0.5, 1, 1], rtol=1e-6)


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_dropped_values_are_zero_and_marked(root, split):
    whole = series_of(build(root, split))
    dropped = build(root, split, drop_rate=30)
    series = series_of(dropped)
    assert whole.shape[1:] == (3, 90) and series.shape[1:] == (4, 90)
    mask = series[:, 3]
    assert set(mask.unique().tolist()) == {0, 1}
    assert (mask.sum(1) == 90 - int(90 * 0.3)).all()
    assert (series[:, :3] * (1 - mask[:, None]) == 0).all()
    # statistics are those of what is left, so values differ a little
    present = mask.bool()[:, None].expand_as(whole)
    correlation = np.corrcoef(series[:, :3][present], whole[present])[0, 1]
    assert correlation > 0.95


def test_splits_are_apart_and_rates_share_them(root):
    parts = [
        [
            (i['series_idx'], i['gt_label'])
            for i in map(dataset.get_data_info, range(len(dataset)))
        ]
        for dataset in (
            build(root, split, drop_rate=rate)
            for rate in (0, 50)
            for split in ('train', 'val', 'test')
        )
    ]
    assert parts[:3] == parts[3:]
    assert sorted(index for part in parts[:3] for index, _ in part) == list(range(40))
    assert [len(part) for part in parts[:3]] == [28, 6, 6]
    assert (root / 'processed/chartrajectories-drop50.npy').is_file()


class Spy:
    """Counts how often the sources are processed."""

    def __init__(self, monkeypatch):
        self.count = 0
        convert = CharTrajectories.convert

        def counted(dataset, *args):
            self.count += 1
            return convert(dataset, *args)

        monkeypatch.setattr(CharTrajectories, 'convert', counted)


def test_cache_is_used_until_sources_change(root, monkeypatch):
    spy = Spy(monkeypatch)
    first = series_of(build(root))
    assert series_of(build(root)).equal(first) and spy.count == 1
    build(root, 'val')
    assert spy.count == 1
    build(root, drop_rate=30)
    assert spy.count == 2
    path = root / 'CharacterTrajectories_TEST.ts'
    text = path.read_text(encoding='latin-1')
    path.write_text(text.rpartition('\n')[0].rpartition('\n')[0], encoding='latin-1')
    assert len(build(root)) == 27 and spy.count == 3
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    build(root)
    assert spy.count == 4


@pytest.mark.parametrize(
    'damage',
    [
        lambda npy, meta: npy.write_bytes(npy.read_bytes()[:-100]),
        lambda npy, meta: npy.write_bytes(b''),
        lambda npy, meta: npy.unlink(),
        lambda npy, meta: meta.unlink(),
        lambda npy, meta: meta.write_text(meta.read_text()[:50]),
        lambda npy, meta: meta.write_text('[]'),
        lambda npy, meta: meta.write_text('{}'),
    ],
    ids=['cut', 'emptied', 'lost', 'meta lost', 'meta cut', 'meta wrong', 'meta {}'],
)
def test_damaged_cache_is_made_anew(root, monkeypatch, damage):
    spy = Spy(monkeypatch)
    first = series_of(build(root))
    npy = root / 'processed/chartrajectories-drop0.npy'
    damage(npy, npy.with_suffix('.json'))
    assert series_of(build(root)).equal(first) and spy.count == 2


def test_remaking_the_cache_is_logged(root):
    build(root)
    (root / 'processed/chartrajectories-drop0.npy').write_bytes(b'')
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        build(root)
    finally:
        logger.removeHandler(handler)
    assert any('drop0.npy is not whole' in message for message in records)


def test_interrupted_processing_leaves_nothing(root, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, 'normalise', interrupt)
        with pytest.raises(KeyboardInterrupt):
            build(root)
    assert list((root / 'processed').iterdir()) == []
    # what a killed process leaves does not count
    (root / 'processed/.chartrajectories-drop0-x1y2.npy').write_bytes(b'half')
    assert len(build(root)) == 28


def test_cache_dir(root, tmp_path):
    folder = tmp_path / 'elsewhere/cache'
    build(root, cache_dir=str(folder))
    assert (folder / 'chartrajectories-drop0.npy').is_file()
    assert not (root / 'processed').exists()
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(OSError, match='set cache_dir of the dataset to another'):
        build(root, cache_dir=str(tmp_path / 'file'))


def test_disk_without_room(root, monkeypatch):
    usage = type('usage', (), dict(free=1000))
    monkeypatch.setattr(module.shutil, 'disk_usage', lambda path: usage)
    with pytest.raises(OSError, match='0.0 GB are needed, 0.0 GB are free.*cache_dir'):
        build(root)


def test_sent_to_a_process_without_its_data(root):
    dataset = build(root, serialize_data=False)
    expected = series_of(dataset)
    data = pickle.dumps(dataset)
    assert len(data) < expected.numel() * 4 / 3
    assert series_of(pickle.loads(data)).equal(expected)


def test_published_numbers_are_compared(root):
    message = r'found .* = \(40, 5, 3, 90\), the published set has \(2858, 20, 3, 182\)'
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            CharTrajectories(root)
        build(root)  # so the second time it is the cache that is refused
    meta = json.loads((root / 'processed/chartrajectories-drop0.json').read_text())
    assert meta['shape'] == [40, 3, 90]


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(split='all'), "'train', 'val' or 'test', got 'all'"),
        (dict(drop_rate=0.3), 'drop_rate is a whole number of percent.*0.3'),
        (dict(drop_rate=100), '0 to 99, got 100'),
    ],
)
def test_bad_arguments(tmp_path, kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(tmp_path, **kwargs)


def test_repr(root):
    assert 'Dropped: \t50 %' in repr(build(root, drop_rate=50))
