"""torch's own convolution, for any device and dtype, which exporters know."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dispatch import Backend, exporting
from ..widening import in_float32, must_widen


class Conv2d(Backend):
    """``F.conv2d``, kept from its faults on CPUs."""

    name = 'conv2d'

    def run(self, input, weight, bias) -> Tensor:
        """Convolve by ``F.conv2d``."""
        return conv2d(input, weight, bias)


def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.conv2d`` with float32 sums, where it neither hangs nor crashes."""
    if must_widen(input, weight):
        return in_float32(conv2d, input, weight, bias)
    if _may_crash(input, weight):
        bias = None if bias is None else F.pad(bias, (0, 1))
        two = F.pad(input, (0, 0) * 2 + (0, 1)), F.pad(weight, (0, 0) * 3 + (0, 1))
        return conv2d(*two, bias)[:, :1]
    padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    return F.conv2d(input, weight, bias, padding=padding, groups=weight.shape[0])


def _may_crash(input: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN (3.10) may write where it must not, in the kernel's gradient.

    It does for a single channel, which is an ordinary convolution to it, and a
    kernel larger than the map, e.g. 31x9 on 16x7; a second channel avoids that.
    """
    if exporting() or not torch.is_grad_enabled():
        return False  # an exporter's map may have symbolic sides: no comparison
    if weight.shape[0] > 1 or input.device.type != 'cpu':
        return False
    return any(k > n for k, n in zip(weight.shape[2:], input.shape[2:]))
