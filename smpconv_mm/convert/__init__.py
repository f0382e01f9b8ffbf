"""Checkpoints of the original projects into ours: pure functions, dict to dict."""

from .involution import convert_involution
from .smpconv import TASKS, convert_smpconv

__all__ = ['TASKS', 'convert_involution', 'convert_smpconv']
