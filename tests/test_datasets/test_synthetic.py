import pytest
import torch

from smpconv_mm.datasets import AddingProblem, CopyMemory


@pytest.mark.parametrize('kind', [AddingProblem, CopyMemory])
def test_samples_are_those_of_the_seed(kind):
    def images(**kwargs):
        dataset = kind(length=30, num_samples=5, **kwargs)
        return torch.stack([dataset.get_data_info(i)['img'] for i in range(5)])

    assert torch.equal(images(), images())
    for other in (dict(split='test'), dict(seed=1), dict(seed=1, split='test')):
        assert not torch.equal(images(), images(**other))


@pytest.mark.parametrize('length', [2, 7, 50])
def test_adding(length):
    dataset = AddingProblem(length=length, num_samples=20)
    for i in range(20):
        sample = dataset.get_data_info(i)
        values, marks = sample['img']
        assert values.shape == (length,) and 0 <= values.min() <= values.max() < 1
        places = marks.nonzero().flatten().tolist()
        assert len(places) == 2 and places[0] < length // 2 <= places[1]
        assert sample['gt_score'][0] == pytest.approx(float((values * marks).sum()))


def test_copy_memory():
    dataset = CopyMemory(length=12, symbols=4, num_samples=30)
    seen = set()
    for i in range(30):
        sample = dataset.get_data_info(i)
        series, labels = sample['img'][0], sample['gt_label']
        assert series.shape == labels.shape == (20,)
        assert series[4:15].eq(0).all() and series[15:].eq(9).all()
        assert labels[:16].eq(0).all()
        assert torch.equal(series[:4].long(), labels[16:])
        seen |= set(labels[16:].tolist())
    assert seen == set(range(1, 9))


def test_published_sizes_and_bad_arguments():
    assert AddingProblem.SIZES == dict(train=50_000, test=1_000)
    assert CopyMemory.SIZES == dict(train=10_000, test=1_000)
    with pytest.raises(ValueError, match="split must be 'train' or 'test'"):
        CopyMemory(split='val')
    with pytest.raises(ValueError, match='num_samples must be positive'):
        CopyMemory(num_samples=0)
    with pytest.raises(ValueError, match='length must be at least 2'):
        AddingProblem(length=1)
    with pytest.raises(ValueError, match='length and symbols must be positive'):
        CopyMemory(symbols=0)
