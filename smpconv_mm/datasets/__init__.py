"""Datasets."""

from . import transforms  # noqa: F401  (registers them)
from .char_trajectories import CharTrajectories
from .digits import Digits
from .pathfinder import Pathfinder
from .sequential import CIFAR10, CIFAR100, MNIST
from .speech_commands import SpeechCommands
from .stl10 import STL10
from .symbols import IMDB, ListOps
from .synthetic import AddingProblem, CopyMemory

__all__ = [
    'AddingProblem',
    'CIFAR10',
    'CIFAR100',
    'CharTrajectories',
    'CopyMemory',
    'Digits',
    'IMDB',
    'ListOps',
    'MNIST',
    'Pathfinder',
    'STL10',
    'SpeechCommands',
]
