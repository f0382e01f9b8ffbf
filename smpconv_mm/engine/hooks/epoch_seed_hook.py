"""Random numbers that do not depend on where a run was resumed."""

from __future__ import annotations

from functools import partial

from mmengine.dataset import worker_init_fn
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner, set_random_seed

from smpconv_mm.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed all generators at the start of each epoch, those of workers too.

    MMEngine does not keep the state of the generators in a checkpoint. With the
    seed of an epoch made from the run's seed and the epoch's number, a run that
    was resumed draws the same augmentations, drop paths and mixtures as one
    that was not interrupted.

    Workers that load data are started anew in each epoch, persistent ones
    (``persistent_workers=True``) too: torch then draws their seeds from that of the
    epoch. MMEngine gives them the same seed in each epoch, with which persistent
    workers go on where they were and others repeat the numbers of the first epoch.

    Training by iterations has one epoch only and is left alone.
    """

    def before_train(self, runner: Runner) -> None:
        """Leave the seeds of workers to torch."""
        loader = runner.train_dataloader
        seeds = loader.worker_init_fn
        if isinstance(runner.train_loop, EpochBasedTrainLoop) and (
            isinstance(seeds, partial) and seeds.func is worker_init_fn
        ):
            loader.worker_init_fn = None

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed ``random``, NumPy and torch; each rank differently."""
        set_random_seed(runner.seed + 1000 * runner.epoch, diff_rank_seed=True)
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            runner.train_dataloader._iterator = None  # ends persistent workers
