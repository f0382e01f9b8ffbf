"""Hooks."""

from .checkpoint_guard_hook import CheckpointGuardHook
from .radius_clip_hook import RadiusClipHook

__all__ = ['CheckpointGuardHook', 'RadiusClipHook']
