"""Checks and autocast, which convolutions share."""

from __future__ import annotations

import torch
from torch import Tensor


def check_tensors(
    op: str, input: Tensor, weight: Tensor, bias: Tensor | None = None
) -> None:
    """Check dtypes and devices.

    Raises:
        TypeError: If a tensor is not floating, or dtypes differ without autocast.
        RuntimeError: If devices differ.
    """
    tensors = [input, weight] + ([] if bias is None else [bias])
    if not all(t.is_floating_point() for t in tensors):
        raise TypeError(
            f'{op}: tensors must be floating point, got '
            f'{[str(t.dtype) for t in tensors]}; convert them with .float()'
        )
    if len({t.device for t in tensors}) > 1:
        raise RuntimeError(
            f'{op}: input, weight and bias must be on one device, '
            f'got {[str(t.device) for t in tensors]}'
        )
    if len({t.dtype for t in tensors}) == 1:
        return
    if autocast_dtype(input) is None:
        raise TypeError(
            f'{op}: input, weight and bias must share a dtype, got '
            f'{[str(t.dtype) for t in tensors]}'
        )


def autocast_dtype(tensor: Tensor) -> torch.dtype | None:
    """The dtype of autocast on the tensor's device, or None where it is off."""
    device = tensor.device.type
    if device == 'meta' or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def autocast(
    input: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cast to the dtype of autocast, if it is on; float64 is left as it is."""
    dtype = autocast_dtype(input)
    if dtype is None or torch.float64 in (input.dtype, weight.dtype):
        return input, weight, bias
    return input.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
