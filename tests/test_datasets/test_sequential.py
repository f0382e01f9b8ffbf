import gzip
import hashlib
import os
import pickle
import re

import numpy as np
import pytest
import real_formats

from smpconv_mm.datasets import CIFAR10, CIFAR100, MNIST


def infos(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


@pytest.mark.parametrize('gzipped', [True, False])
def test_mnist(tmp_path, gzipped):
    written = real_formats.write_mnist(tmp_path, 30, 20, gzipped)
    for split, (images, labels) in written.items():
        samples = infos(MNIST(tmp_path, split, verify=False))
        assert (np.stack([s['img'] for s in samples]) == images).all()
        assert [s['gt_label'] for s in samples] == labels.tolist()
        assert 'permutation' not in samples[0]
    assert len(MNIST.METAINFO['classes']) == 10


def test_permutation_goes_with_the_metainfo(tmp_path):
    real_formats.write_mnist(tmp_path, 10, 10)
    for split in ('train', 'test'):
        dataset = MNIST(tmp_path, split, permutation_seed=0, verify=False)
        order = dataset.metainfo['permutation']
        assert order[:4] == (693, 85, 647, 392) and len(order) == 784
        assert isinstance(order[0], int)
        assert dataset.get_data_info(3)['permutation'].tolist() == list(order)
        assert dataset.metainfo['classes'] == MNIST.METAINFO['classes']
    plain = MNIST(tmp_path, verify=False)
    assert 'permutation' not in plain.metainfo


@pytest.mark.parametrize('classes', [10, 100])
@pytest.mark.parametrize('binary', [False, True])
def test_cifar(tmp_path, classes, binary):
    written = real_formats.write_cifar(tmp_path, classes, number=12, binary=binary)
    type_ = {10: CIFAR10, 100: CIFAR100}[classes]
    for split, (images, labels) in written.items():
        samples = infos(type_(str(tmp_path), split, verify=False))
        found = np.stack([s['img'] for s in samples])
        assert (found == images.transpose(0, 2, 3, 1)[..., ::-1]).all()
        assert [s['gt_label'] for s in samples] == labels.tolist()
    assert len(type_.METAINFO['classes']) == classes


@pytest.mark.parametrize('protocol', range(6))
def test_cifar_pickled_by_python_3(tmp_path, protocol):
    real_formats.write_cifar(tmp_path, 10, number=4)
    path = tmp_path / 'cifar-10-batches-py/test_batch'
    batch = dict(data=np.full((4, 3072), 7, np.uint8), labels=[1, 2, 3, 4])
    path.write_bytes(pickle.dumps(batch, protocol))
    dataset = CIFAR10(tmp_path, 'test', verify=False)
    assert dataset.get_data_info(3)['gt_label'] == 4
    assert (dataset.get_data_info(3)['img'] == 7).all()


def test_published_checksums_are_compared(tmp_path, monkeypatch):
    real_formats.write_mnist(tmp_path, 10, 10)
    with pytest.raises(ValueError, match=r'train-images.*MD5 sum \w{32}.*f68b3c2dcbea'):
        MNIST(tmp_path)
    own = [
        [name, hashlib.md5((tmp_path / name).read_bytes()).hexdigest()]
        for name, _ in MNIST.test_list
    ]
    monkeypatch.setattr(MNIST, 'test_list', own)
    with pytest.raises(ValueError, match='10 images .* the published set has 10000'):
        MNIST(tmp_path, 'test')
    monkeypatch.setitem(MNIST.SIZES, 'test', 10)
    assert len(MNIST(tmp_path, 'test')) == 10

    real_formats.write_cifar(tmp_path)
    with pytest.raises(ValueError, match='data_batch_1: MD5 sum .*c99cafc152244af753f'):
        CIFAR10(tmp_path)


def test_number_of_unpacked_files_is_compared(tmp_path):
    real_formats.write_cifar(tmp_path, number=3, binary=True)
    with pytest.raises(ValueError, match='15 images .* published set has 50000'):
        CIFAR10(tmp_path)


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def gzipped(path, change):
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))


# what is done to the file, and what is said besides its name
BROKEN_MNIST = {
    'cut gzip': (lambda path: cut(path, -2000), 'cut or damaged .EOFError'),
    'damaged gzip': (
        lambda path: path.write_bytes(b'\x1f\x8bthis is no gzip'),
        'cut or damaged',
    ),
    'web page': (
        lambda path: path.write_bytes(b'<!DOCTYPE html>'),
        r'15 bytes\): not an idx file, or cut or damaged .BadGzipFile',
    ),
    'empty': (lambda path: path.write_bytes(b''), r'\(0 bytes\): not an idx file'),
    'other type': (
        lambda path: gzipped(path, lambda data: b'\0\0\x09' + data[3:]),
        'idx file of int8 with 3 dimensions, expected uint8 with 3',
    ),
    'other dimensions': (
        lambda path: path.write_bytes(
            gzip.compress(real_formats.idx_bytes(np.zeros(10, np.uint8)))
        ),
        'idx file of uint8 with 1 dimensions, expected uint8 with 3',
    ),
    'unknown type': (
        lambda path: gzipped(path, lambda data: b'\0\0\x2f' + data[3:]),
        'not an idx file',
    ),
    'header only': (
        lambda path: gzipped(path, lambda data: data[:6]),
        'cut or damaged',
    ),
    'too few images': (lambda path: gzipped(path, lambda data: data[:-5]), 'cut or'),
    'other size': (
        lambda path: path.write_bytes(
            gzip.compress(real_formats.idx_bytes(np.zeros((10, 32, 32), np.uint8)))
        ),
        'expected as many labels as images of 28 x 28',
    ),
}


@pytest.mark.parametrize('fault', BROKEN_MNIST)
def test_broken_mnist(tmp_path, fault):
    real_formats.write_mnist(tmp_path, 10, 10)
    path = tmp_path / 'train-images-idx3-ubyte.gz'
    damage, message = BROKEN_MNIST[fault]
    damage(path)
    with pytest.raises(ValueError, match=message) as error:
        MNIST(tmp_path, verify=False)
    assert str(tmp_path) in str(error.value)
    assert len(MNIST(tmp_path, 'test', verify=False)) == 10


def test_label_out_of_range(tmp_path):
    real_formats.write_mnist(tmp_path, 10, 10)
    labels = real_formats.idx_bytes(np.arange(3, 13).astype(np.uint8))
    (tmp_path / 'train-labels-idx1-ubyte.gz').write_bytes(gzip.compress(labels))
    with pytest.raises(ValueError, match="label 10 in split 'train', .* 10 classes"):
        MNIST(tmp_path, verify=False)


@pytest.mark.parametrize('label', [-1, 10])
def test_label_out_of_range_in_cifar(tmp_path, label):
    real_formats.write_cifar(tmp_path, 10, number=4)
    batch = dict(data=np.zeros((2, 3072), np.uint8), labels=[0, label])
    path = tmp_path / 'cifar-10-batches-py/test_batch'
    path.write_bytes(pickle.dumps(batch))
    with pytest.raises(ValueError, match=f"label {label} in split 'test', .* 10 class"):
        CIFAR10(tmp_path, 'test', verify=False)


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickles_are_not_executed(tmp_path):
    real_formats.write_cifar(tmp_path, number=4)
    path = tmp_path / 'cifar-10-batches-py/data_batch_3'
    trace = tmp_path / 'trace'
    for payload in (
        pickle.dumps(dict(data=Attack(str(trace)), labels=[])),
        # the long way round, through a name that is allowed
        b'\x80\x04\x8c\x05numpy\x8c\x0fndarray.__new__\x93.',
        b'cbuiltins\neval\n(S"1"\ntR.',
        # a codec that runs code of its own
        b'c_codecs\nencode\n(Vtext\nVzlib_codec\ntR.',
    ):
        path.write_bytes(payload)
        with pytest.raises(ValueError, match='refused, as it could run code') as error:
            CIFAR10(tmp_path, verify=False)
        assert str(path) in str(error.value)
    assert not trace.exists()
    # the attack is real
    pickle.loads(pickle.dumps(Attack(str(trace))))
    assert trace.exists()


BROKEN_CIFAR = {
    'cut': (lambda path: cut(path, -100), 'cut or damaged'),
    'no pickle': (lambda path: path.write_bytes(b'<html>'), 'cut or damaged'),
    'empty': (lambda path: path.write_bytes(b''), 'cut or damaged'),
    'a list': (
        lambda path: path.write_bytes(pickle.dumps([1])),
        'not a batch of CIFAR images',
    ),
    'float images': (
        lambda path: path.write_bytes(
            pickle.dumps(dict(data=np.zeros((2, 3072)), labels=[0, 1]))
        ),
        'not a batch of CIFAR images',
    ),
    'half a label': (
        lambda path: path.write_bytes(
            pickle.dumps(dict(data=np.zeros((2, 3072), np.uint8), labels=[0, 0.5]))
        ),
        'not a batch of CIFAR images',
    ),
    'a label too few': (
        lambda path: path.write_bytes(
            pickle.dumps(dict(data=np.zeros((2, 3072), np.uint8), labels=[0]))
        ),
        'not a batch of CIFAR images',
    ),
}


@pytest.mark.parametrize('fault', BROKEN_CIFAR)
def test_broken_cifar(tmp_path, fault):
    real_formats.write_cifar(tmp_path, number=4)
    path = tmp_path / 'cifar-10-batches-py/data_batch_2'
    damage, message = BROKEN_CIFAR[fault]
    damage(path)
    with pytest.raises(ValueError, match=message) as error:
        CIFAR10(tmp_path, verify=False)
    assert str(path) in str(error.value)


@pytest.mark.parametrize('size', [-100, 0])
def test_broken_cifar_binary(tmp_path, size):
    real_formats.write_cifar(tmp_path, number=4, binary=True)
    path = tmp_path / 'cifar-10-batches-bin/test_batch.bin'
    cut(path, size)
    with pytest.raises(ValueError, match='whole number of images') as error:
        CIFAR10(tmp_path, 'test', verify=False)
    assert str(path) in str(error.value)


@pytest.mark.parametrize('type_', [MNIST, CIFAR10, CIFAR100])
def test_missing_files(tmp_path, type_):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))) as error:
        type_(tmp_path)
    assert 'must hold' in str(error.value) and 'http' in str(error.value)


def test_missing_batch(tmp_path):
    real_formats.write_cifar(tmp_path, number=2)
    (tmp_path / 'cifar-10-batches-py/data_batch_4').unlink()
    with pytest.raises(FileNotFoundError, match='data_batch_4 does not exist'):
        CIFAR10(tmp_path, verify=False)


def test_bad_split(tmp_path):
    with pytest.raises(ValueError, match="'train' or 'test', got 'val'"):
        MNIST(tmp_path, 'val')
