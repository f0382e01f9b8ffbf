"""Functions to be fitted: made, recorded, or read from files."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from smpconv_mm.errors import UsageError

SAMPLES = 1024  # of the signals that are made
_IMAGE_SIZE = (64, 96)
_LONGEST = 16384  # samples taken from a file


def _sinusoids() -> Tensor:
    """Ten sinusoids of 5, 10, ... 50 periods, equally strong."""
    periods = torch.arange(5.0, 51.0, 5.0)
    phases = torch.rand(10, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0, 1, SAMPLES)
    return (2 * torch.pi * (periods * t[:, None] + phases)).sin().sum(1)


def _step() -> Tensor:
    """Twelve levels with jumps between them."""
    generator = torch.Generator().manual_seed(0)
    edges = torch.rand(11, generator=generator).sort().values
    levels = torch.rand(12, generator=generator)
    return levels[torch.bucketize(torch.linspace(0, 1, SAMPLES), edges)]


def _chirp() -> Tensor:
    """A sinusoid whose frequency grows from 1 to 60 periods over the length."""
    t = torch.linspace(0, 1, SAMPLES)
    return (2 * torch.pi * (t + 59 / 2 * t**2)).sin()


def _sawtooth() -> Tensor:
    """Ten teeth."""
    return torch.linspace(0, 10 - 1e-4, SAMPLES) % 1


def _eeg() -> Tensor:
    """Four seconds of a recorded EEG, 200 samples per second, of one electrode.

    It comes with matplotlib, as data of its examples.
    """
    from matplotlib import cbook

    with cbook.get_sample_data('eeg.dat') as file:
        return torch.from_numpy(np.fromfile(file, float).reshape(800, 4)[:, 0])


def _image() -> Tensor:
    """The photograph of a temple of scikit-learn, grey, 64x96 pixels."""
    from sklearn.datasets import load_sample_image

    image = torch.tensor(load_sample_image('china.jpg')).double().mean(2)
    return torch.nn.functional.interpolate(
        image[None, None], _IMAGE_SIZE, mode='area'
    ).view(_IMAGE_SIZE)


_KERNEL_SIDE = 33  # of the images below


def _gabor(frequency: float) -> Tensor:
    """Product of sines along both axes under a Gaussian, as FlexConv fits it."""
    x = torch.linspace(-1, 1, _KERNEL_SIDE)
    gaussian = torch.exp(-(x[:, None] ** 2 + x**2) / (2 * 0.33**2))
    return (frequency * x[:, None]).sin() * (frequency * x).sin() * gaussian


def _random() -> Tensor:
    """Independent uniform numbers."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(_KERNEL_SIDE, _KERNEL_SIDE, generator=generator)


def _teeth() -> Tensor:
    """A sawtooth of two places along both axes: the highest frequency of the grid."""
    odd = torch.arange(_KERNEL_SIDE) % 2
    return torch.maximum(odd[:, None], odd)


def _gaussian() -> Tensor:
    """A Gaussian of a standard deviation of 0.33."""
    x = torch.linspace(-1, 1, _KERNEL_SIDE)
    return torch.exp(-(x[:, None] ** 2 + x**2) / (2 * 0.33**2))


def _rings() -> Tensor:
    """Rings that grow narrower outwards, eight from the middle to a corner."""
    x = torch.linspace(-1, 1, _KERNEL_SIDE)
    return (8 * torch.pi * (x[:, None] ** 2 + x**2)).sin()


def _checker() -> Tensor:
    """Four squares of zeros and ones."""
    right = torch.arange(_KERNEL_SIDE) > _KERNEL_SIDE // 2
    return (right[:, None] ^ right).float()


# What kernels should be able to be (FlexConv, ICLR 2022, appendix)
KERNELS: dict[str, Callable[[], Tensor]] = {
    'gaussian': _gaussian,
    'gabor-1': partial(_gabor, 1),
    'gabor-4': partial(_gabor, 4),
    'gabor-16': partial(_gabor, 16),
    'gabor-64': partial(_gabor, 64),
    'rings': _rings,
    'checker': _checker,
    'random': _random,
    'teeth': _teeth,
}
SIGNALS: dict[str, Callable[[], Tensor]] = {
    'sinusoids': _sinusoids,
    'step': _step,
    'chirp': _chirp,
    'sawtooth': _sawtooth,
    'eeg': _eeg,
    'image': _image,
}


def load_signal(name: str) -> Tensor:
    """Values of a function at evenly spaced places.

    Args:
        name (str): One of :data:`SIGNALS` or :data:`KERNELS`, or a file: ``.wav`` (the
            first channel) or ``.npy`` (one axis: a signal; two: a grey image). Of a
            long signal the first 16384 samples are taken.

    Returns:
        Tensor: Float32 of shape (L,) or (H, W), scaled to [-1, 1].

    Raises:
        UsageError: If the name is unknown, or the file cannot be used.
    """
    made = {**SIGNALS, **KERNELS}
    values = made[name]() if name in made else _read(Path(name))
    values = values.double()
    low, high = values.min(), values.max()
    if not (torch.isfinite(low) and torch.isfinite(high) and low < high):
        raise UsageError(f'signal {name} is constant or not finite')
    return (2 * (values - low) / (high - low) - 1).float()


def _read(path: Path) -> Tensor:
    if path.suffix not in ('.wav', '.npy'):
        raise UsageError(
            f'signal {str(path)!r} is neither one of '
            f'{", ".join([*SIGNALS, *KERNELS])} nor a .wav or .npy file'
        )
    if not path.is_file():
        raise UsageError(f'signal {path} does not exist')
    try:
        if path.suffix == '.npy':
            values = np.load(path, allow_pickle=False)
        else:
            from scipy.io import wavfile

            values = wavfile.read(path)[1]
            values = values[:, 0] if values.ndim == 2 else values
        values = torch.from_numpy(values.astype(float))
    except (ValueError, TypeError, EOFError, OSError, struct.error) as error:
        raise UsageError(f'signal {path} cannot be read: {error}') from error
    if values.dim() not in (1, 2) or min(values.shape) < 2:
        raise UsageError(
            f'signal {path} has shape {tuple(values.shape)}; it must have one axis or '
            'two, of at least two values'
        )
    return values[:_LONGEST] if values.dim() == 1 else values
