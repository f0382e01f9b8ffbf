"""Keep the points of SMP kernels within their bounds."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from smpconv_mm.layers import SMPKernel
from smpconv_mm.registry import HOOKS


@HOOKS.register_module()
class RadiusClipHook(Hook):
    """Clip the radii of every :class:`SMPKernel` after each training iteration.

    Positions are clipped too in kernels with ``clip_coord``.

    The hook runs before the EMA hook (priority NORMAL), so that averaged radii
    stay within the bounds too. The original averages radii that are not yet
    clipped; they differ by at most one optimiser step.
    """

    priority = 'ABOVE_NORMAL'

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Clip all radii (and positions) in place."""
        for module in runner.model.modules():
            if isinstance(module, SMPKernel):
                module.clip_points()
