"""Speech Commands: one second of one word, as a waveform or as MFCC."""

from __future__ import annotations

import math
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from smpconv_mm.registry import DATASETS

from .series import TimeSeries

CLASSES = ('yes', 'no', 'up', 'down', 'left', 'right', 'on', 'off', 'stop', 'go')
RATE = 16000
_URL = 'http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz'
_CHUNK = 128


def read_wav(path: Path) -> np.ndarray:
    """Read a clip of 16-bit mono sound at 16 kHz; int16, shape (samples,).

    Raises:
        ValueError: If the file is cut, not a WAV file, or of another kind.
    """
    try:
        with wave.open(str(path), 'rb') as file:
            kind = file.getnchannels(), 8 * file.getsampwidth(), file.getframerate()
            frames = file.getnframes()
            data = file.readframes(frames)
    except (wave.Error, EOFError) as error:
        raise ValueError(
            f'{path}: not a WAV file of PCM samples, or cut ({error or "too short"}); '
            'get it again'
        ) from error
    if kind != (1, 16, RATE):
        raise ValueError(
            f'{path}: (channels, bits, samples per second) = {kind}, expected '
            f'(1, 16, {RATE}); convert it or remove it'
        )
    if len(data) != 2 * frames:
        raise ValueError(
            f'{path}: {len(data) // 2} samples, the header says {frames}; the file is '
            'cut, get it again'
        )
    return np.frombuffer(data, '<i2')


def _mel_filters(n_mels: int, n_fft: int) -> torch.Tensor:
    """Triangles on the HTK mel scale, 0 Hz to half the rate; (n_fft//2+1, n_mels)."""
    top = 2595 * math.log10(1 + RATE / 2 / 700)
    corners = 700 * (10 ** (torch.linspace(0, top, n_mels + 2) / 2595) - 1)
    bins = torch.linspace(0, RATE / 2, n_fft // 2 + 1)
    rise = (bins[:, None] - corners[:-2]) / (corners[1:-1] - corners[:-2])
    fall = (corners[2:] - bins[:, None]) / (corners[2:] - corners[1:-1])
    return torch.minimum(rise, fall).clamp(min=0)


def mfcc(
    waves: torch.Tensor, n_mfcc: int = 20, n_mels: int = 64, n_fft: int = 200
) -> torch.Tensor:
    """Mel-frequency cepstral coefficients with natural logarithms.

    Power spectrum in periodic Hann windows of ``n_fft`` samples, half of which
    is the step, centred with reflection at the ends; HTK mel filters without
    area norm; log(mel + 1e-6); orthonormal DCT-II.

    Args:
        waves (torch.Tensor): Sound at 16 kHz, float32 in [-1, 1), (N, samples).
        n_mfcc (int): Coefficients. Defaults to 20.
        n_mels (int): Mel filters. Defaults to 64.
        n_fft (int): Samples of a window, even. Defaults to 200.

    Returns:
        torch.Tensor: float32, (N, n_mfcc, 1 + samples // (n_fft // 2)).
    """
    spectrum = torch.stft(
        waves,
        n_fft,
        hop_length=n_fft // 2,
        window=torch.hann_window(n_fft),
        center=True,
        pad_mode='reflect',
        return_complex=True,
    )
    power = spectrum.abs().square()
    log_mel = (_mel_filters(n_mels, n_fft).T @ power + 1e-6).log()
    place = torch.arange(n_mels).double() + 0.5
    dct = torch.cos(torch.pi / n_mels * place * torch.arange(n_mfcc).double()[:, None])
    dct *= (2 / n_mels) ** 0.5
    dct[0] /= 2**0.5
    return dct.float() @ log_mel


@DATASETS.register_module()
class SpeechCommands(TimeSeries):
    """Ten words of Speech Commands 0.02, 34,975 clips of one second.

    Source: Warden, 2018, arXiv 1804.03209. ``data_root`` holds the unpacked
    archive, a folder for each word. Of the ten words the clips of exactly
    16,000 samples are taken, word by word in the order of the classes and
    within a word sorted by file name (the published program takes them in the
    order of the folder, which differs between file systems, so its splits
    cannot be had again). Arguments and errors: see :class:`~.series.TimeSeries`.
    The publisher gives no checksum of the unpacked files; with ``verify`` their
    number is checked.

    Args:
        data_root (str): Folder of the ten folders.
        representation (str): ``'mfcc'``, (20, 161), or ``'raw'``, (1, 16000):
            the waveform divided by 2^15. Defaults to ``'mfcc'``.
        **kwargs: Of :class:`~.series.TimeSeries`.
    """

    METAINFO = dict(classes=CLASSES)

    def __init__(self, data_root: str, representation: str = 'mfcc', **kwargs) -> None:
        if representation not in ('mfcc', 'raw'):
            raise ValueError(
                f"representation must be 'mfcc' or 'raw', got {representation!r}"
            )
        self.representation = representation
        super().__init__(data_root=data_root, **kwargs)

    def cache_name(self) -> str:
        """Stem of the file of processed data."""
        return self.representation

    def sources(self) -> list[Path]:
        """The WAV files, word by word, sorted by name."""
        paths = []
        for word in CLASSES:
            clips = sorted((self.root / word).glob('*.wav'))
            if not clips:
                raise FileNotFoundError(
                    f'{self.root / word} does not exist or has no .wav files: '
                    f'{self.root} must hold a folder for each of '
                    f'{", ".join(CLASSES)}; get {_URL} and unpack it there'
                )
            paths += clips
        return paths

    def convert(
        self, paths: list[Path], allocate: Callable[..., np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Read the clips and turn them into the representation."""
        lengths = [
            len(read_wav(path)) for path in self._track(paths, 'Speech Commands: check')
        ]
        paths = [path for path, length in zip(paths, lengths) if length == RATE]
        labels = np.array([CLASSES.index(path.parent.name) for path in paths], int)
        for word, count in zip(CLASSES, np.bincount(labels, minlength=len(CLASSES))):
            if not count:
                raise ValueError(
                    f'{self.root / word}: none of the clips has {RATE} samples; get '
                    'them again'
                )
        raw = self.representation == 'raw'
        array = allocate(len(paths), *((1, RATE) if raw else (20, 161)))
        starts = range(0, len(paths), _CHUNK)
        for start in self._track(starts, f'Speech Commands: {self.representation}'):
            clips = np.stack([read_wav(p) for p in paths[start : start + _CHUNK]])
            waves = torch.from_numpy(clips.astype(np.float32) / 2**15)
            array[start : start + _CHUNK] = waves[:, None] if raw else mfcc(waves)
        return array, labels, list(CLASSES)

    def _track(self, items, description: str):
        return track(items, description=description, disable=len(items) < 20)

    def numbers(self) -> tuple[int, int, int, int]:
        """Clips, classes, channels and length of the published set."""
        return 34975, 10, *((1, RATE) if self.representation == 'raw' else (20, 161))
