"""Keep the parameters of kernels within their bounds."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from smpconv_mm.layers import Kernel
from smpconv_mm.registry import HOOKS


@HOOKS.register_module()
class AfterStepHook(Hook):
    """Call ``after_step()`` of every kernel after each training iteration.

    There each kind of kernel clips what must stay within bounds, e.g. an
    :class:`~smpconv_mm.layers.SMPKernel` its radii.

    The hook runs before the EMA hook (priority NORMAL), so that what is averaged
    stays within the bounds too. The original SMPConv averages radii that are not
    yet clipped; they differ by at most one optimiser step.
    """

    priority = 'ABOVE_NORMAL'

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Go through the kernels of the runner's model."""
        for module in runner.model.modules():
            if isinstance(module, Kernel):
                module.after_step()
