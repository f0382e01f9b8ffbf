"""Hooks."""

from .checkpoint_guard_hook import CheckpointGuardHook
from .epoch_seed_hook import EpochSeedHook
from .label_guard_hook import LabelGuardHook
from .point_tracking_hook import PointTrackingHook
from .radius_clip_hook import RadiusClipHook

__all__ = [
    'CheckpointGuardHook',
    'EpochSeedHook',
    'LabelGuardHook',
    'PointTrackingHook',
    'RadiusClipHook',
]
