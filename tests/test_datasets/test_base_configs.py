"""The dataset configs of the sequence tasks on tiny data in the real formats."""

from pathlib import Path

import numpy as np
import pytest
import real_formats
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from torch.utils.data import default_collate

CONFIGS = Path(__file__).parents[2] / 'configs/_base_/datasets'
TASKS = {
    'smnist': ((1, 784), 10, ('train', 'test', 'test')),
    'smnist-split': ((1, 784), 10, ('train', 'train', 'test')),
    'pmnist-split': ((1, 784), 10, ('train', 'train', 'test')),
    'cifar10-split': ((3, 32, 32), 10, ('train', 'train', 'test')),
    'scifar10-split': ((3, 1024), 10, ('train', 'train', 'test')),
    'cifar100-split': ((3, 32, 32), 100, ('train', 'train', 'test')),
    'lra-image': ((1, 1024), 10, ('train', 'train', 'test')),
    'lra-image-2d': ((1, 32, 32), 10, ('train', 'train', 'test')),
    'lra-pathfinder': ((1, 1024), 2, ('train', 'val', 'test')),
    'lra-pathfinder-2d': ((1, 32, 32), 2, ('train', 'val', 'test')),
    'lra-listops': ((1, 2048), 10, ('train', 'val', 'test')),
    'lra-text': ((1, 4096), 2, ('train', 'test', 'test')),
    'stl10-256': ((3, 256, 256), 10, ('train', 'test', 'test')),
    'pmnist': ((1, 784), 10, ('train', 'test', 'test')),
    'cifar10': ((3, 32, 32), 10, ('train', 'test', 'test')),
    'scifar10': ((3, 1024), 10, ('train', 'test', 'test')),
    'scifar10-noise-padded': ((96, 1000), 10, ('train', 'test', 'test')),
    'char-trajectories': ((3, 182), 20, ('train', 'val', 'test')),
    'speech-commands-mfcc': ((20, 161), 10, ('train', 'val', 'test')),
    'speech-commands-raw': ((1, 16000), 10, ('train', 'val', 'test')),
}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    real_formats.write_all(folder)
    return folder


def build(name, phase, data):
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    dataset = cfg[f'{phase}_dataloader'].dataset
    assert dataset.data_root.startswith('data/')
    dataset.data_root = dataset.data_root.replace('data', str(data), 1)
    return DATASETS.build({**dataset, 'verify': False})


@pytest.mark.parametrize('name', TASKS)
def test_batches(name, data):
    shape, classes, splits = TASKS[name]
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    assert cfg.data_preprocessor.num_classes == classes
    images = name.startswith(('cifar', 'stl10'))  # normalised by the model
    assert ('mean' in cfg.data_preprocessor) == images
    seen = []
    for phase, split in zip(('train', 'val', 'test'), splits):
        dataset = build(name, phase, data)
        assert dataset.split == split
        assert len(dataset.metainfo['classes']) == classes
        inputs = default_collate([dataset[i]['inputs'] for i in range(12)])
        assert inputs.shape == (12, *shape)
        assert inputs.dtype == (torch.uint8 if images else torch.float32)
        assert inputs.float().isfinite().all()
        labels = {dataset[i]['data_samples'].gt_label.item() for i in range(12)}
        assert labels <= set(range(classes)) and len(labels) > 1
        seen.append(dataset)
    again = build(name, 'test', data)
    assert again[5]['inputs'].equal(seen[2][5]['inputs'])


@pytest.mark.parametrize(
    'name', ['smnist', 'pmnist', 'cifar10', 'scifar10', 'cifar100']
)
def test_validation_images_are_not_trained_on(name):
    cfg = Config.fromfile(CONFIGS / f'{name}-split.py')
    train, val, test = (
        cfg[f'{phase}_dataloader'].dataset for phase in ('train', 'val', 'test')
    )
    whole = DATASETS.get(train.type).SIZES['train']
    assert (train.indices, val.indices) == (whole - 5000, -5000)
    assert 'indices' not in test and val.pipeline == test.pipeline
    for key in ('data_root', 'type', 'permutation_seed'):
        assert train.get(key) == val.get(key) == test.get(key)


def test_grey_images(data):
    dataset = build('lra-image', 'test', data)
    image = dataset.get_data_info(3)['img'][..., ::-1].astype(float)  # to RGB
    grey = image @ [0.299, 0.587, 0.114]
    expected = (grey.reshape(1, 1024) - 122.6) / 61
    np.testing.assert_allclose(dataset[3]['inputs'], expected, atol=1 / 61)
    two = build('lra-image-2d', 'test', data)[3]['inputs']
    assert two.flatten(1).equal(dataset[3]['inputs'])


@pytest.mark.parametrize(
    'plain, permuted', [('smnist', 'pmnist'), ('smnist-split', 'pmnist-split')]
)
def test_permuted_is_sequential_in_another_order(data, plain, permuted):
    train = build(permuted, 'train', data)
    plain, permuted = (build(name, 'test', data) for name in (plain, permuted))
    order = list(permuted.metainfo['permutation'])
    assert permuted[7]['inputs'].equal(plain[7]['inputs'][:, order])
    assert train.metainfo['permutation'] == permuted.metainfo['permutation']
    image = plain.get_data_info(7)['img'] / 255
    expected = (image.reshape(1, -1) - 0.1307) / 0.3081
    np.testing.assert_allclose(plain[7]['inputs'], expected, rtol=1e-5, atol=1e-6)


def test_cifar_sequence_is_normalised_by_imagenet(data):
    dataset = build('scifar10', 'test', data)
    image = dataset.get_data_info(3)['img'][..., ::-1] / 255  # to RGB
    expected = (image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(
        dataset[3]['inputs'], expected.reshape(1024, 3).T, rtol=1e-4, atol=1e-5
    )
    padded = build('scifar10-noise-padded', 'test', data)
    np.testing.assert_allclose(
        padded[3]['inputs'][:, 9],
        expected[9].T.reshape(96),
        rtol=1e-4,
        atol=1e-5,
    )


def test_training_images_of_mnist(data):
    """Erased patches have 11x11 pixels, in half of the images."""
    dataset = build('smnist', 'train', data)
    white = np.full((28, 28), 255, np.uint8)
    np.random.seed(0)
    torch.manual_seed(0)
    erased, affine = [], []
    for _ in range(400):
        out = dataset.pipeline(dict(img=white, gt_label=0))['inputs']
        erased.append(int((out == 0).sum()))
        affine.append(bool((out < -0.4).any()))
    assert set(erased) == {0, 121}
    assert 0.42 < np.mean(np.array(erased) > 0) < 0.58
    # untouched only if neither rotated, moved nor scaled
    assert 0.8 < np.mean(affine) < 0.95


def test_training_images_of_cifar(data):
    """Mirrored in half of the cases, moved by up to four pixels over black."""
    dataset = build('cifar10', 'train', data)
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :16] = 100
    image[:, 16:] = 200
    image[16] += 1
    np.random.seed(0)
    mirrored, rows = [], []
    for _ in range(400):
        out = dataset.pipeline(dict(img=image.copy(), gt_label=0))['inputs'].float()
        assert out.shape == (3, 32, 32)
        row = int((out[0] % 100 == 1).any(1).nonzero())
        rows.append(row)
        mirrored.append(bool(out[0, row, 8] > 150))
    assert 0.42 < np.mean(mirrored) < 0.58
    assert set(rows) == set(range(12, 21))
    changed = build('scifar10', 'train', data)
    lowest = min(changed[i]['inputs'].min() for i in range(12))
    assert abs(lowest + 0.485 / 0.229) < 1e-4  # black before it is normalised
