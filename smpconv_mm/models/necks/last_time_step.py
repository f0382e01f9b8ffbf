"""From sequences to the features of a classifier."""

from __future__ import annotations

from torch import Tensor, nn

from smpconv_mm.registry import MODELS


@MODELS.register_module()
class LastTimeStep(nn.Module):
    """Take the last sample, which in a causal network has seen all others.

    Input: a tuple of sequences (N, C, L). Output: a tuple of (N, C).
    """

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Cut off the last samples."""
        return tuple(x[..., -1] for x in inputs)
