"""Where torch's convolutions on CPUs must be given float32 to add up in float32."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .dispatch import exporting

HAS_ONEDNN = torch.backends.mkldnn.is_available()

# oneDNN convolves bfloat16 with float32 sums where the processor has AVX-512 (or the
# bfloat16 instructions of AVX2); elsewhere torch adds up in bfloat16.
_NATIVE_BFLOAT16 = HAS_ONEDNN and torch.ops.mkldnn._is_mkldnn_bf16_supported()

# oneDNN (3.10) never returns from depthwise convolutions of channels-last maps with
# some larger kernels in bfloat16, e.g. 9x31 on 5x40.
_MOST_BFLOAT16 = 8


def must_widen(input: Tensor, weight: Tensor) -> bool:
    """Whether a convolution by torch must be computed in float32.

    Args:
        input (Tensor): Shape (N, C, *spatial).
        weight (Tensor): Shape (C_out, C_in / groups, *spatial).
    """
    if input.device.type != 'cpu' or exporting():
        return False
    if input.dtype == torch.bfloat16:
        may_hang = weight.shape[1] == 1 and max(weight.shape[2:]) > _MOST_BFLOAT16
        return may_hang or not _NATIVE_BFLOAT16
    return input.dtype == torch.float16


def in_float32(
    conv: Callable, input: Tensor, weight: Tensor, bias, *settings
) -> Tensor:
    """Call a convolution in float32, whatever autocast says."""
    bias = None if bias is None else bias.float()
    with torch.autocast('cpu', enabled=False):
        out = conv(input.float(), weight.float(), bias, *settings)
    return out.to(input.dtype)
