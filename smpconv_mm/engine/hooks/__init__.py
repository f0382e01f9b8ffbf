"""Hooks."""

from .after_step_hook import AfterStepHook
from .checkpoint_guard_hook import CheckpointGuardHook
from .checkpoint_hook import CheckpointHook
from .epoch_seed_hook import EpochSeedHook
from .finite_guard_hook import FiniteGuardHook
from .kernel_size_hook import KernelSizeHook
from .label_guard_hook import LabelGuardHook
from .overflow_hook import OverflowHook
from .point_tracking_hook import PointTrackingHook
from .validate_first_hook import ValidateFirstHook

__all__ = [
    'AfterStepHook',
    'CheckpointGuardHook',
    'CheckpointHook',
    'EpochSeedHook',
    'KernelSizeHook',
    'FiniteGuardHook',
    'LabelGuardHook',
    'OverflowHook',
    'PointTrackingHook',
    'ValidateFirstHook',
]
