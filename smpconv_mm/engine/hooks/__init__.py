"""Hooks."""

from .after_step_hook import AfterStepHook
from .checkpoint_guard_hook import CheckpointGuardHook
from .epoch_seed_hook import EpochSeedHook
from .label_guard_hook import LabelGuardHook
from .overflow_hook import OverflowHook
from .point_tracking_hook import PointTrackingHook

__all__ = [
    'AfterStepHook',
    'CheckpointGuardHook',
    'EpochSeedHook',
    'LabelGuardHook',
    'OverflowHook',
    'PointTrackingHook',
]
