"""Mixed precision in bfloat16, on GPUs and on CPUs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.runner.amp import autocast
from torch import nn

from smpconv_mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Compute the loss under bfloat16 autocast.

    MMEngine's ``AmpOptimWrapper`` refuses to run without a GPU and scales the
    loss, which bfloat16 with the exponents of float32 does not need. Parameters,
    gradients and the state of the optimiser stay in float32.

    Args:
        **kwargs: Of MMEngine's ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast, without synchronising gradients while they accumulate."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
