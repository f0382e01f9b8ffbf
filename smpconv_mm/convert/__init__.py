"""Checkpoints of the original projects into ours: pure functions, dict to dict."""

from .ccnn import convert_ccnn
from .dcls import convert_dcls
from .flexconv import convert_flexconv
from .involution import convert_involution
from .oriented1d import convert_oriented1d
from .smpconv import TASKS, convert_smpconv
from .unireplknet import convert_unireplknet

__all__ = [
    'TASKS',
    'convert_ccnn',
    'convert_dcls',
    'convert_flexconv',
    'convert_involution',
    'convert_oriented1d',
    'convert_smpconv',
    'convert_unireplknet',
]
