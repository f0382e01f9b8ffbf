"""Checkpoints of the original projects into ours: pure functions, dict to dict."""

from .smpconv import TASKS, convert_smpconv

__all__ = ['TASKS', 'convert_smpconv']
