"""Random numbers that do not depend on where a run was resumed."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed

from smpconv_mm.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed all generators at the start of each epoch.

    MMEngine does not keep the state of the generators in a checkpoint. With the
    seed of an epoch made from the run's seed and the epoch's number, a run that
    was resumed draws the same augmentations, drop paths and mixtures as one
    that was not interrupted. Training by iterations has one epoch only and is
    left alone.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed ``random``, NumPy and torch; each rank differently."""
        set_random_seed(runner.seed + 1000 * runner.epoch, diff_rank_seed=True)
