"""Terms that are added to the loss of a task."""

from .kernel_losses import (
    AliasingLoss,
    KernelNormLoss,
    ParameterNormLoss,
    nyquist_frequency,
)

__all__ = [
    'AliasingLoss',
    'KernelNormLoss',
    'ParameterNormLoss',
    'nyquist_frequency',
]
