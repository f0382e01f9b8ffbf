import shutil
from pathlib import Path

import numpy as np
import pytest
import real_formats
import torch

from smpconv_mm.datasets import SpeechCommands
from smpconv_mm.datasets.series import normalise, split_indices, time_statistics
from smpconv_mm.datasets.speech_commands import CLASSES, mfcc, read_wav


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('speech')
    real_formats.write_speech_commands(folder)
    return folder


def test_mfcc_is_the_published_one():
    """Sound and coefficients of torchaudio 2.11 as the published program calls it."""
    with np.load(Path(__file__).with_name('mfcc_reference.npz')) as reference:
        found = mfcc(torch.from_numpy(reference['wave'])[None])[0, :, :4]
        expected = torch.from_numpy(reference['mfcc'])
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-5)


def test_mfcc_of_a_second():
    time = torch.arange(16000) / 16000
    waves = torch.stack([torch.sin(2 * torch.pi * 1000 * time), torch.zeros(16000)])
    out = mfcc(waves)
    assert out.shape == (2, 20, 161) and out.dtype == torch.float32
    # silence: log(1e-6) in each of 64 bands, of which the first coefficient is 8 times
    silence = torch.zeros(20)
    silence[0] = 8 * np.log(1e-6)
    torch.testing.assert_close(
        out[1], silence[:, None].expand(20, 161), atol=1e-3, rtol=0
    )
    assert (out[0, 0] > out[1, 0]).all()


def test_raw(root):
    clips, labels = [], []
    for label, word in enumerate(CLASSES):
        for path in sorted((root / word).glob('*.wav')):
            samples = read_wav(path)
            if len(samples) == 16000:
                clips.append(samples[None] / 2**15)
                labels.append(label)
    assert len(clips) == 80 and labels == sorted(labels)
    clips = np.stack(clips).astype(np.float32)
    parts = split_indices(np.array(labels), list(CLASSES))
    normalise(clips, *time_statistics(clips, parts['train']))
    for split, indices in parts.items():
        dataset = SpeechCommands(root, representation='raw', split=split, verify=False)
        assert len(dataset) == len(indices)
        for position in (0, -1):
            info = dataset.get_data_info(position)
            assert info['series_idx'] == indices[position]
            assert info['gt_label'] == labels[indices[position]]
            torch.testing.assert_close(
                info['img'], torch.from_numpy(clips[indices[position]])
            )
    assert dataset.metainfo['classes'] == CLASSES


@pytest.mark.parametrize('drop_rate', [0, 30])
@pytest.mark.parametrize(
    'representation, shape', [('mfcc', (20, 161)), ('raw', (1, 16000))]
)
def test_representations(root, representation, shape, drop_rate):
    dataset = SpeechCommands(
        root,
        representation,
        drop_rate=drop_rate,
        verify=False,
        pipeline=[dict(type='mmpretrain.PackInputs')],
    )
    inputs = torch.stack([dataset[i]['inputs'] for i in range(len(dataset))])
    channels, length = shape
    assert inputs.shape == (56, channels + bool(drop_rate), length)
    assert inputs.dtype == torch.float32 and inputs.isfinite().all()
    if drop_rate:
        assert (inputs[:, -1].sum(1) == length - int(length * 0.3)).all()
    else:
        # each time is normalised by these very samples
        assert inputs.mean((0, 1)).abs().max() < 1e-4
        assert (inputs.transpose(1, 2).flatten(2).std((0, 2)) - 1).abs().max() < 0.01
    assert (root / f'processed/{representation}-drop{drop_rate}.npy').is_file()


def test_mfcc_dataset_is_made_of_clips(root):
    dataset = SpeechCommands(root, split='test', verify=False)
    raw = SpeechCommands(root, 'raw', split='test', verify=False)
    for i in range(len(dataset)):
        a, b = dataset.get_data_info(i), raw.get_data_info(i)
        assert a['series_idx'] == b['series_idx'] and a['gt_label'] == b['gt_label']


def wav(path, kind, **kwargs):
    real_formats.write_wav(path, np.zeros(16000, kind), **kwargs)


BROKEN = {
    'stereo': (lambda path: wav(path, '<i4', channels=2), r'= \(2, 16, 16000\)'),
    '8 bits': (lambda path: wav(path, 'u1', width=1), r'= \(1, 8, 16000\)'),
    'other rate': (lambda path: wav(path, '<i2', rate=8000), r'= \(1, 16, 8000\)'),
    'cut': (
        lambda path: path.write_bytes(path.read_bytes()[:-1000]),
        '15500 samples, the header says 16000',
    ),
    'cut in its header': (
        lambda path: path.write_bytes(path.read_bytes()[:20]),
        'not a WAV file of PCM samples, or cut',
    ),
    'empty': (lambda path: path.write_bytes(b''), 'not a WAV file .* or cut'),
    'no WAV': (lambda path: path.write_bytes(b'ID3' * 100), 'not a WAV file'),
}


@pytest.mark.parametrize('fault', BROKEN)
def test_broken_clip(tmp_path, fault):
    path = tmp_path / 'clip.wav'
    wav(path, '<i2')
    assert len(read_wav(path)) == 16000
    damage, message = BROKEN[fault]
    damage(path)
    with pytest.raises(ValueError, match=message) as error:
        read_wav(path)
    assert str(path) in str(error.value)


def test_broken_clip_among_others(root, tmp_path):
    shutil.copytree(root, tmp_path / 'copy')
    path = sorted((tmp_path / 'copy/left').glob('*.wav'))[3]
    real_formats.write_wav(path, np.zeros(16000, '<i4'), channels=2)
    with pytest.raises(ValueError, match='convert it or remove it') as error:
        SpeechCommands(tmp_path / 'copy', verify=False)
    assert str(path) in str(error.value)


def test_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match='yes does not exist.*tar.gz'):
        SpeechCommands(tmp_path)
    real_formats.write_speech_commands(tmp_path, per_word=1, short=0)
    for clip in (tmp_path / 'stop').iterdir():
        clip.unlink()
    with pytest.raises(FileNotFoundError, match='stop does not exist or has no .wav'):
        SpeechCommands(tmp_path)
    wav(tmp_path / 'stop/a.wav', 'u1', width=2)
    with pytest.raises(ValueError, match='stop: none of the clips has 16000 samples'):
        SpeechCommands(tmp_path, verify=False)


def test_published_number_is_compared(root):
    message = r'= \(80, 10, 20, 161\), the published set has \(34975, 10, 20, 161\)'
    with pytest.raises(ValueError, match=message):
        SpeechCommands(root)


def test_bad_representation(tmp_path):
    with pytest.raises(ValueError, match="'mfcc' or 'raw', got 'mel'"):
        SpeechCommands(tmp_path, 'mel')
