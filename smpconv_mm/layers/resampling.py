"""Networks for inputs of another sampling rate than that of the training."""

from __future__ import annotations

from math import ceil

from torch import nn


def resample(model: nn.Module, rate: float) -> nn.Module:
    """Adapt all kernels of a network to inputs of another sampling rate, in place.

    A module with a method ``resample(rate)`` (layers and backbones of this
    package) is asked to do it; ordinary convolutions stay as they are.

    Args:
        model (nn.Module): Any network in training form.
        rate (float): Samples over those that the same signal had in training,
            e.g. 2 for images of twice the height and width; 1 undoes it.

    Returns:
        nn.Module: ``model`` itself.

    Raises:
        ValueError: If the rate is not positive, or a kernel is fixed (deploy
            form).
    """
    if not 0 < rate < float('inf'):
        raise ValueError(f'rate must be positive, got {rate}')
    if hasattr(model, 'resample'):
        model.resample(rate)
    else:
        for child in model.children():
            resample(child, rate)
    return model


def resampled_taps(taps: int, rate: float, causal: bool = True) -> int:
    """Taps that cover at a sampling rate what ``taps`` cover at rate 1.

    A kernel that is not causal keeps the parity of its taps, so that its middle
    stays where it is.
    """
    steps = ceil((taps - 1) * rate - 1e-6)
    if not causal and (steps - (taps - 1)) % 2:
        steps += 1
    return steps + 1
