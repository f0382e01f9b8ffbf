"""Datasets."""

from . import transforms  # noqa: F401  (registers them)
from .char_trajectories import CharTrajectories
from .digits import Digits
from .sequential import CIFAR10, CIFAR100, MNIST
from .speech_commands import SpeechCommands

__all__ = [
    'CIFAR10',
    'CIFAR100',
    'CharTrajectories',
    'Digits',
    'MNIST',
    'SpeechCommands',
]
