"""Stop a training that has diverged."""

from __future__ import annotations

import math

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner

from smpconv_mm.checkpoint import not_finite
from smpconv_mm.errors import UsageError
from smpconv_mm.registry import HOOKS


@HOOKS.register_module()
class FiniteGuardHook(Hook):
    """Stop at the first loss, or weight to be saved, that is NaN or infinite.

    Otherwise such a training goes on to its end, with the accuracy of guessing.
    Costs nothing: MMEngine reads the loss of each iteration anyway, and weights are
    looked at only when a checkpoint is saved.

    Where mixed precision scales the loss, steps with too large gradients are left
    out and the scale lowered. There a loss that is not finite stops the training
    when it is the tenth in a row, or has reached the weights.

    Raises:
        UsageError: Names the iteration, the loss and the first weight.
    """

    priority = 'HIGH'  # before checkpoints are saved
    patience = 10

    def __init__(self) -> None:
        self._in_a_row = 0

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Look at the losses of an iteration."""
        losses = {
            key: torch.as_tensor(value).item()
            for key, value in (outputs or {}).items()
            if 'loss' in key
        }
        bad = [key for key, value in losses.items() if not math.isfinite(value)]
        if not bad:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        # not state_dict(), which sharded processes can only call together
        weights = not_finite(dict(_model(runner).named_parameters()))
        scaled = isinstance(runner.optim_wrapper, AmpOptimWrapper)
        if scaled and not weights and self._in_a_row < self.patience:
            return
        self._stop(runner, f'{bad[0]} is {losses[bad[0]]}', weights)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Look at the weights that are about to be saved."""
        weights = not_finite(checkpoint['state_dict'])
        if weights:
            self._stop(runner, 'weights are not finite', weights)

    def _stop(self, runner: Runner, what: str, weights: list[str]) -> None:
        rate = max(max(rates) for rates in runner.optim_wrapper.get_lr().values())
        where = ''
        if weights:
            where = f'; the first weight that is not finite is {weights[0]}'
            where += f', {len(weights)} entries are not' * (len(weights) > 1)
        raise UsageError(
            f'training diverged at iteration {runner.iter + 1} (epoch '
            f'{runner.epoch + 1}): {what}{where}. The learning rate is {rate:g}; '
            'lower it (optim_wrapper.optimizer.lr), clip gradients '
            '(optim_wrapper.clip_grad), or look for NaN in the data. Checkpoints that '
            'were written before are sound'
        )


def _model(runner: Runner):
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
