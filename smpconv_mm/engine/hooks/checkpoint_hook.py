"""Save checkpoints without losing any."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from smpconv_mm.checkpoint import atomic_path
from smpconv_mm.registry import HOOKS

# what a checkpoint says of the last validation; names in 'val' would be logged
_VALIDATED = 'last_validated'


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """MMEngine's hook, with these differences.

    * A run deletes only files of its own work dir. MMEngine's also deletes the best
      checkpoint of the run that it was resumed from.
    * A checkpoint is written before the one that it replaces is deleted, and
      ``last_checkpoint`` in one move: a run that is killed, or that fills the disk,
      keeps what it had.
    * Checkpoints say whether they were validated. A run that was killed in a
      validation validates first when it is resumed.

    Args:
        *args: Of MMEngine's ``CheckpointHook``.
        **kwargs: The same.

    Raises:
        TypeError: If there is another argument.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        for key in self.args:  # MMEngine's would fail when it first saves
            raise TypeError(
                f'CheckpointHook.__init__() got an unexpected keyword argument {key!r}'
            )
        self._written: int | None = None  # epoch or iteration of the latest file

    def before_train(self, runner: Runner) -> None:
        """Take over what a resumed run had written, and validate if that is due."""
        if runner._resume:
            self._find_own_files(runner)
        super().before_train(runner)
        if runner._resume:
            self._finish_validation(runner)

    def _find_own_files(self, runner: Runner) -> None:
        hub = runner.message_hub
        own = Path(self.out_dir or runner.work_dir)
        if self.out_dir not in (None, runner.work_dir):
            own /= Path(runner.work_dir).name
        origin = Path(runner._load_from).parent if runner._load_from else own
        here = origin.resolve() == own.resolve()
        if not here:
            hub.pop_info('keep_ckpt_ids', None)
        for key in [k for k in hub.runtime_info if k.startswith('best_ckpt')]:
            best = Path(hub.pop_info(key))
            score = key.replace('best_ckpt', 'best_score', 1)
            if here:  # maybe under another name than when it was written
                best = own / best.name
            if not best.exists():
                hub.pop_info(score, None)
                runner.logger.warning(
                    f'{best}, the best checkpoint so far, does not exist; the best of '
                    'those to come will be kept'
                )
            elif here:
                hub.update_info(key, str(best))
            else:
                runner.logger.info(
                    f'the best checkpoint so far is {best}; a better one will be '
                    f'written into {own}'
                )

    def _finish_validation(self, runner: Runner) -> None:
        loop = runner.train_loop
        if isinstance(loop, EpochBasedTrainLoop):
            done, last = loop.epoch, loop.max_epochs
        elif isinstance(loop, IterBasedTrainLoop):
            done, last = loop.iter, loop.max_iters
        else:
            return
        if runner.val_loop is not None and done:
            loop._decide_current_val_interval()
            due = done >= loop.val_begin and (
                done % loop.val_interval == 0 or done == last
            )
            if due and runner.message_hub.runtime_info.get(_VALIDATED) != done:
                # to be written again
                self.last_ckpt = runner._load_from or runner.work_dir
                self._written = runner.epoch if self.by_epoch else runner.iter
                runner.logger.info(f'{self.last_ckpt} is validated, as it was not')
                runner.val_loop.run()
        if done >= last:
            runner.logger.warning(
                f'{runner.work_dir} was trained to its end, nothing is left to do; to '
                'train longer, raise max_epochs or max_iters of train_cfg'
            )

    def after_val_epoch(self, runner: Runner, metrics: dict) -> None:
        """Save the best checkpoint, and that the latest one was validated."""
        by_iter = isinstance(runner._train_loop, IterBasedTrainLoop)
        validated = runner.iter if by_iter else runner.epoch
        runner.message_hub.update_info(_VALIDATED, validated)
        step = runner.epoch if self.by_epoch else runner.iter
        latest, self._written = self._written, None
        super().after_val_epoch(runner, metrics)
        if self._written is None and latest == step:
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._save_checkpoint_with_step(runner, step, meta)
        self._written = self._written or latest

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        single = len(self.key_indicators) == 1 if self.save_best else True
        name = 'best_ckpt_path' if single else 'best_ckpt_path_dict'
        before = getattr(self, name, None)
        # MMEngine's would delete them before it writes the new ones
        setattr(self, name, None if single else dict.fromkeys(before))
        super()._save_best_checkpoint(runner, metrics)
        after = getattr(self, name)
        if single:
            before, after = {name: before}, {name: after}
        for key, old in before.items():
            if after[key] is None:
                after[key] = old
            elif old and old != after[key]:
                self._remove(old)
        setattr(self, name, after[name] if single else after)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        hub = runner.message_hub
        kept = [i for i in getattr(self, 'keep_ckpt_ids', ()) if i != step] + [step]
        if self.max_keep_ckpts > 0:
            # with those that go below: a run that is killed before deletes them later
            hub.update_info('keep_ckpt_ids', kept)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self._written = step
        if is_main_process():
            with atomic_path(Path(runner.work_dir, 'last_checkpoint')) as temporary:
                temporary.write_text(self.last_ckpt)
        if self.max_keep_ckpts > 0:
            for old in kept[: -self.max_keep_ckpts]:
                name = self.filename_tmpl.format(old)
                self._remove(self.file_backend.join_path(self.out_dir, name))
            self.keep_ckpt_ids = deque(kept[-self.max_keep_ckpts :])

    def _remove(self, path: str) -> None:
        if not is_main_process():
            return
        if self.file_backend.isdir(path):
            self.file_backend.rmtree(path)
        elif self.file_backend.isfile(path):
            self.file_backend.remove(path)
