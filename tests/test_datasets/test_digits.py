import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS as ROOT

from smpconv_mm.datasets import Digits


def test_splits():
    train, test, both = (Digits(split=s) for s in ('train', 'test', 'all'))
    assert (len(train), len(test), len(both)) == (1437, 360, 1797)
    indices = [
        {d['digits_idx'] for d in map(s.get_data_info, range(len(s)))}
        for s in (train, test)
    ]
    assert not indices[0] & indices[1]
    counts = np.bincount([test.get_data_info(i)['gt_label'] for i in range(360)])
    assert counts.min() >= 34 and counts.max() <= 37  # stratified
    other = Digits(split='test', seed=1)
    assert {other.get_data_info(i)['digits_idx'] for i in range(360)} != indices[1]
    again = Digits(split='test')
    assert {again.get_data_info(i)['digits_idx'] for i in range(360)} == indices[1]
    assert len(Digits(split='test', test_size=0.5)) == 899
    assert train.metainfo['classes'] == tuple('0123456789')


def test_image():
    sample = Digits(split='all')[0]
    assert sample['img'].shape == (8, 8, 3) and sample['img'].dtype == np.uint8
    assert sample['img'].max() <= 255 and sample['img'].max() > 200
    assert (sample['img'][..., 0] == sample['img'][..., 2]).all()
    assert sample['gt_label'] == 0


def test_sequence_packs_as_it_is():
    dataset = Digits(
        split='all', sequence=True, pipeline=[dict(type='mmpretrain.PackInputs')]
    )
    images = Digits(split='all')
    sample = dataset[5]
    assert sample['inputs'].shape == (1, 64)
    assert sample['inputs'].dtype == torch.float32
    expected = images[5]['img'][..., 0].reshape(-1)
    assert sample['inputs'][0].tolist() == expected.tolist()
    assert sample['data_samples'].gt_label.tolist() == [images[5]['gt_label']]


def test_permuted():
    plain = Digits(split='test', sequence=True)
    permuted = Digits(split='test', sequence=True, permutation_seed=0)
    order = permuted.metainfo['permutation']
    assert sorted(order) == list(range(64)) and order != tuple(range(64))
    assert 'permutation' not in plain.metainfo
    for i in (0, 100):
        assert torch.equal(permuted[i]['img'], plain[i]['img'][:, list(order)])
    again = Digits(split='train', sequence=True, permutation_seed=0)
    assert again.metainfo['permutation'] == order
    other = Digits(split='test', sequence=True, permutation_seed=1)
    assert other.metainfo['permutation'] != order


@pytest.mark.parametrize('length', [33, 127])
def test_other_sampling_rates(length):
    plain, other = (Digits('test', True, length=n)[3]['img'] for n in (64, length))
    assert other.shape == (1, length)
    assert torch.equal(other[:, [0, -1]], plain[:, [0, -1]])
    if length == 127:
        assert torch.allclose(other[:, ::2], plain, atol=1e-3)
        assert torch.allclose(other[:, 1], plain[:, :2].mean(1), atol=1e-3)


def test_registered():
    dataset = ROOT.build(dict(type='smpconv_mm.Digits', split='test'))
    assert 'Split' in repr(dataset)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(split='val'), "'train', 'test' or 'all', got 'val'"),
        (dict(length=1), 'length must be at least 2, got 1'),
        (dict(permutation_seed=3), 'permutation_seed=3 is for sequences'),
        (dict(test_size=1.5), 'test_size must lie between 0 and 1, got 1.5'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Digits(**kwargs)
