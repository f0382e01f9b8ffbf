"""Hooks."""

from .checkpoint_guard_hook import CheckpointGuardHook
from .epoch_seed_hook import EpochSeedHook
from .radius_clip_hook import RadiusClipHook

__all__ = ['CheckpointGuardHook', 'EpochSeedHook', 'RadiusClipHook']
