import numpy as np
import pytest
import real_formats
import torch

from smpconv_mm.datasets import CharTrajectories
from smpconv_mm.datasets.char_trajectories import pad_with_last, read_ts
from smpconv_mm.datasets.series import normalise, split_indices, time_statistics

GOOD = '@dimensions 2\n@classLabel true a b\n@data\n'


def test_read(tmp_path):
    path = tmp_path / 'x.ts'
    path.write_text(
        '# comment\n\n@problemName x\n@timeStamps false\n' + GOOD + '# another\n'
        '1,2.5,-3e-1:4,5,6:a\n\n'
        '7,? :8,9: b \n'
    )
    series, labels = read_ts(path)
    assert labels == ['a', 'b']
    assert series[0].dtype == np.float32
    np.testing.assert_array_equal(
        series[0], np.array([[1, 2.5, -0.3], [4, 5, 6]], np.float32)
    )
    np.testing.assert_array_equal(series[1], [[7, np.nan], [8, 9]])


@pytest.mark.parametrize(
    'text, message',
    [
        ('<html>\n', 'line 1: not a .ts file'),
        (GOOD + '1,2:3,4:a\n1,2:a\n', 'line 5: 1 channels, expected 2'),
        (GOOD + '1,2:3,4:5,6:a\n', 'line 4: 3 channels, expected 2'),
        (GOOD + '1,2:3,4,5:a\n', r'line 4: channels of different lengths \[2, 3\]'),
        (GOOD + '1,2:3,NaN:a\n', "line 4: 'NaN' is not a finite number"),
        (GOOD + '1,2:3,inf:a\n', "line 4: 'inf' is not a finite number"),
        (GOOD + '1,2:3,x:a\n', "line 4: could not convert string to float: 'x'"),
        (GOOD + '1,2:3,:a\n', 'line 4: could not convert'),
        (GOOD + '1,2:3,4:c\n', "line 4: class 'c' is not among the 2"),
        (GOOD + '1,2:3,4\n', 'line 4: 1 channels, expected 2'),
        (GOOD, 'no series after "@data"'),
        ('', 'no series'),
        ('@timeStamps true\n', 'time stamps are not supported'),
        ('@dimensions many\n@data\n1:a\n', 'line 3: .*many'),
    ],
)
def test_broken(tmp_path, text, message):
    path = tmp_path / 'broken.ts'
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_ts(path)
    assert str(path) in str(error.value)


def test_not_text(tmp_path):
    path = tmp_path / 'binary.ts'
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(ValueError, match='not a .ts file'):
        read_ts(path)


def test_padded_with_last_value():
    series = np.array([[0.0, 0.5, 1.0], [3.0, 2.0, 4.0]])
    assert pad_with_last(series, 5).tolist() == [
        [0.0, 0.5, 1.0, 1.0, 1.0],
        [3.0, 2.0, 4.0, 4.0, 4.0],
    ]


def test_dataset(tmp_path):
    series, labels = real_formats.write_char_trajectories(tmp_path)
    padded = np.stack([pad_with_last(s, 182) for s in series]).astype(np.float32)
    names = list(dict.fromkeys(labels))
    classes = np.array([names.index(label) for label in labels])
    parts = split_indices(classes, names)
    normalise(padded, *time_statistics(padded, parts['train']))
    for split, indices in parts.items():
        dataset = CharTrajectories(
            tmp_path,
            split,
            verify=False,
            pipeline=[dict(type='mmpretrain.PackInputs')],
        )
        assert dataset.metainfo['classes'] == tuple(names)
        assert len(dataset) == len(indices)
        for position in (0, -1):
            sample = dataset[position]
            index = indices[position]
            assert sample['inputs'].dtype == torch.float32
            torch.testing.assert_close(
                sample['inputs'], torch.from_numpy(padded[index])
            )
            assert sample['data_samples'].gt_label.item() == classes[index]


def test_missing_values_are_refused(tmp_path):
    real_formats.write_char_trajectories(tmp_path)
    path = tmp_path / 'CharacterTrajectories_TEST.ts'
    text = path.read_text(encoding='latin-1')
    head, _, last = text.rstrip().rpartition('\n')
    values = last.split(',')
    path.write_text('\n'.join([head, ','.join(['?', *values[1:]])]), encoding='latin-1')
    with pytest.raises(ValueError, match='_TEST.ts: series 79 has missing values'):
        CharTrajectories(tmp_path, verify=False)
    assert list((tmp_path / 'processed').iterdir()) == []


def test_files_with_different_channels(tmp_path):
    for part, line in [('TRAIN', '1,2:3,4:a'), ('TEST', '1,2:a')]:
        path = tmp_path / f'CharacterTrajectories_{part}.ts'
        path.write_text(f'@data\n{line}\n')
    with pytest.raises(ValueError, match='_TEST.ts: series 0 has 1 channels, .* 2'):
        CharTrajectories(tmp_path, verify=False)


def test_missing_file(tmp_path):
    real_formats.write_char_trajectories(tmp_path)
    (tmp_path / 'CharacterTrajectories_TEST.ts').unlink()
    with pytest.raises(
        FileNotFoundError, match='_TEST.ts does not exist.*must hold.*_ts.zip'
    ):
        CharTrajectories(tmp_path)
