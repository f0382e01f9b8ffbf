"""Tiny sets in the formats of the real ones; ``python tests/real_formats.py FOLDER``.

Contents are random with a fixed seed, formats are exact. The sets are smaller than
the published ones, so datasets need ``verify=False``.
"""

import gzip
import struct
import sys
import wave
from pathlib import Path

import numpy as np
from PIL import Image

WORDS = ('yes', 'no', 'up', 'down', 'left', 'right', 'on', 'off', 'stop', 'go')


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f'>{array.ndim}I', *array.shape)
    return header + array.tobytes()


def write_mnist(root, train=128, test=64, gzipped=True):
    """The four idx files; returns images and labels by split."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(0)
    written = {}
    for split, name, number in [('train', 'train', train), ('test', 't10k', test)]:
        images = random.randint(0, 256, (number, 28, 28)).astype(np.uint8)
        labels = (np.arange(number) % 10).astype(np.uint8)
        written[split] = images, labels
        for part, array in [('images-idx3', images), ('labels-idx1', labels)]:
            data = idx_bytes(array)
            if gzipped:
                (root / f'{name}-{part}-ubyte.gz').write_bytes(gzip.compress(data))
            else:
                (root / f'{name}-{part}-ubyte').write_bytes(data)
    return written


def python2_pickle(batch):
    """Protocol 2 as Python 2 wrote it: text as bytes, arrays through numpy.core."""

    def text(value):
        return b'U' + bytes([len(value)]) + value

    def number(value):
        return b'J' + struct.pack('<i', value)

    def array(value):
        dtype = (
            b'cnumpy\ndtype\n' + text(b'u1') + b'K\x00K\x01\x87R'
            b'(K\x03' + text(b'|') + b'NNN' + number(-1) + number(-1) + b'K\x00tb'
        )
        raw = value.tobytes()
        return (
            b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85'
            + text(b'b')
            + b'\x87R(K\x01'
            + b''.join(map(number, value.shape))
            + b'\x86'
            + dtype
            + b'\x89T'
            + struct.pack('<i', len(raw))
            + raw
            + b'tb'
        )

    out = b'\x80\x02}('
    for key, value in batch.items():
        out += text(key.encode())
        if isinstance(value, np.ndarray):
            out += array(value)
        elif isinstance(value, list):
            items = [number(v) if isinstance(v, int) else text(v) for v in value]
            out += b'](' + b''.join(items) + b'e'
        else:
            out += text(value)
    return out + b'u.'


def write_cifar(root, classes=10, number=64, binary=False):
    """CIFAR-10 or -100; returns images (N, 3, 32, 32) RGB and labels by split."""
    random = np.random.RandomState(1)
    if classes == 10:
        folder = 'cifar-10-batches-bin' if binary else 'cifar-10-batches-py'
        names = [f'data_batch_{i}' for i in range(1, 6)] + ['test_batch']
    else:
        folder = 'cifar-100-binary' if binary else 'cifar-100-python'
        names = ['train', 'test']
    folder = Path(root) / folder
    folder.mkdir(parents=True, exist_ok=True)
    written = {'train': [], 'test': []}
    for name in names:
        images = random.randint(0, 256, (number, 3072)).astype(np.uint8)
        labels = (np.arange(number) % classes).astype(np.uint8)
        coarse = labels // 5
        if binary:
            head = labels[:, None]
            if classes == 100:
                head = np.stack([coarse, labels], 1)
            data = np.concatenate([head, images], 1).tobytes()
            (folder / f'{name}.bin').write_bytes(data)
        else:
            batch = {'batch_label': b'batch of random images', 'data': images}
            if classes == 10:
                batch['labels'] = labels.tolist()
            else:
                batch['coarse_labels'] = coarse.tolist()
                batch['fine_labels'] = labels.tolist()
            batch['filenames'] = [b'%d.png' % i for i in range(number)]
            (folder / name).write_bytes(python2_pickle(batch))
        written['test' if 'test' in name else 'train'].append((images, labels))
    return {
        split: (
            np.concatenate([images for images, _ in parts]).reshape(-1, 3, 32, 32),
            np.concatenate([labels for _, labels in parts]),
        )
        for split, parts in written.items()
    }


def write_stl10(root, train=20, test=20):
    """Images (N, 3, 96, 96) RGB and labels by split; in the files column by column."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(4)
    written = {}
    for split, number in (('train', train), ('test', test)):
        images = random.randint(0, 256, (number, 3, 96, 96)).astype(np.uint8)
        labels = np.arange(number) % 10
        (root / f'{split}_X.bin').write_bytes(images.transpose(0, 1, 3, 2).tobytes())
        (root / f'{split}_y.bin').write_bytes((labels + 1).astype(np.uint8).tobytes())
        written[split] = images, labels
    return written


def write_pathfinder(root, files=3, lines=40):
    """Text files of lines an image, and the images in two folders; returns labels."""
    root, random = Path(root), np.random.RandomState(6)
    (root / 'metadata').mkdir(parents=True)
    labels = {}
    for file in range(files):
        folder = root / f'imgs/{file}'
        folder.mkdir(parents=True)
        text = []
        for index in range(lines):
            name = f'sample_{index}.png'
            image = random.randint(0, 256, (32, 32)).astype(np.uint8)
            Image.fromarray(image).save(folder / name)
            label = int(random.randint(2))
            text.append(f'imgs/{file} {name} {index} {label} 1.8 6 2 1.5 4.0 1 1 3')
            labels[f'imgs/{file}/{name}'] = label
        (root / f'metadata/{file}.npy').write_text('\n'.join(text) + '\n')
    return labels


def write_listops(root, number=12):
    """Three files of expressions with their results; returns them by split."""
    root, random = Path(root), np.random.RandomState(7)
    root.mkdir(parents=True)
    written = {}
    for split in ('train', 'val', 'test'):
        samples = []
        for index in range(number):
            one, two = random.randint(0, 10, (2, 1 + index)).tolist()
            inner = ' '.join(map(str, two))
            outer = ' '.join(map(str, one))
            expression = f'( ( [MAX {outer} ) [MIN {inner} ] ) ]'
            samples.append((expression, max(*one, min(two))))
        lines = ['Source\tTarget', *(f'{text}\t{result}' for text, result in samples)]
        (root / f'basic_{split}.tsv').write_text('\n'.join(lines) + '\n')
        written[split] = samples
    return written


def write_imdb(root, number=8):
    """Reviews of different lengths in the folders of the archive."""
    for split in ('train', 'test'):
        for label in ('neg', 'pos'):
            folder = Path(root) / split / label
            folder.mkdir(parents=True)
            for index in range(number):
                text = f'{split} {label} né {index}<br />' * (1 + 40 * index)
                path = folder / f'{index}_{1 + index % 10}.txt'
                path.write_text(text, encoding='utf-8')


def write_imagenet32(root, classes=1000, number=1):
    """A folder of PNG files a class, for both splits."""
    random = np.random.RandomState(5)
    for split in ('train', 'val'):
        for label in range(classes):
            folder = Path(root) / split / f'n{label:08d}'
            folder.mkdir(parents=True)
            for index in range(number):
                image = random.randint(0, 256, (32, 32, 3)).astype(np.uint8)
                Image.fromarray(image).save(folder / f'{index}.png')


HEADER = """#A comment: Université, 2006
@problemName CharacterTrajectories
@timeStamps false
@missing false
@univariate false
@dimensions 3
@equalLength false
@classLabel true {classes}
@data
"""


def ts_line(series, label):
    channels = [','.join(f'{value:.6f}' for value in channel) for channel in series]
    return ':'.join([*channels, label])


def write_char_trajectories(root, per_class=8, classes=20, longest=182):
    """The two .ts files; returns series and labels in the order of the files."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(2)
    series, labels = [], []
    for index in range(per_class * classes):
        length = longest - index % 70
        series.append(random.randn(3, length).cumsum(1).round(6) / 8)
        labels.append(str(1 + index % classes))
    lines = [ts_line(values, label) for values, label in zip(series, labels)]
    header = HEADER.format(classes=' '.join(map(str, range(1, classes + 1))))
    half = len(lines) // 2
    for part, chosen in [('TRAIN', lines[:half]), ('TEST', lines[half:])]:
        text = header + '\n'.join(chosen) + '\n'
        # the comments of the archive are not all in UTF-8
        path = root / f'CharacterTrajectories_{part}.ts'
        path.write_bytes(text.encode('latin-1'))
    return series, labels


def write_wav(path, samples, channels=1, width=2, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), 'wb') as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def write_speech_commands(root, per_word=8, short=1):
    """A folder of clips a word, ``short`` of them too short; other folders too."""
    root = Path(root)
    random = np.random.RandomState(3)
    for word in (*WORDS, 'marvin', '_background_noise_'):
        for index in range(per_word + short):
            samples = (random.randn(16000) * 2000).astype('<i2')
            if index >= per_word:
                samples = samples[:12000]
            # names that sort otherwise than they are written
            name = f'{(index * 7919 + 13) % 65536:08x}_nohash_{index % 3}.wav'
            write_wav(root / word / name, samples)


def write_all(folder):
    folder = Path(folder)
    write_mnist(folder / 'mnist')
    write_cifar(folder / 'cifar10')
    write_cifar(folder / 'cifar100', 100)
    write_char_trajectories(folder / 'CharacterTrajectories')
    write_speech_commands(folder / 'speech_commands_v0.02')
    write_stl10(folder / 'stl10_binary')
    write_pathfinder(folder / 'lra_release/pathfinder32/curv_contour_length_14')
    write_listops(folder / 'lra_release/listops-1000')
    write_imdb(folder / 'aclImdb')
    write_imagenet32(folder / 'imagenet32')


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit('usage: python tests/real_formats.py FOLDER')
    write_all(sys.argv[1])
