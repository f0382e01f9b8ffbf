"""Evaluate a model before it is trained."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from smpconv_mm.registry import HOOKS


@HOOKS.register_module()
class ValidateFirstHook(Hook):
    """Evaluate the model that a training starts from, such as another resolution's.

    The result is logged as that of epoch 0. A run that is resumed does not repeat it.
    """

    priority = 'VERY_LOW'

    def before_train(self, runner: Runner) -> None:
        """Run the validation loop once."""
        if runner.iter == 0 and runner.val_loop is not None:
            runner.val_loop.run()
