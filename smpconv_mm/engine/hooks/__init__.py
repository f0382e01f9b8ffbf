"""Hooks."""

from .after_step_hook import AfterStepHook
from .checkpoint_guard_hook import CheckpointGuardHook
from .checkpoint_hook import CheckpointHook
from .epoch_seed_hook import EpochSeedHook
from .finite_guard_hook import FiniteGuardHook
from .label_guard_hook import LabelGuardHook
from .point_tracking_hook import PointTrackingHook

__all__ = [
    'AfterStepHook',
    'CheckpointGuardHook',
    'CheckpointHook',
    'EpochSeedHook',
    'FiniteGuardHook',
    'LabelGuardHook',
    'PointTrackingHook',
]
