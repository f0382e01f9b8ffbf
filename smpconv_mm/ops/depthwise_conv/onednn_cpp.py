"""oneDNN's convolution with the C++ gradient of the kernel, for few taps."""

from __future__ import annotations

import torch
from torch import Tensor

from .cpp import Cpp
from .onednn import OneDNN
from .operator import OwnKernels

_LEAST_FOR_CPP = 9


class OneDNNCpp(OwnKernels):
    """The best of two backends.

    oneDNN's convolution with few taps is up to five times faster than ours, but its
    gradient of the kernel is slower at any size.
    """

    name = 'onednn+cpp'
    needs = 'the CPU, oneDNN, the compiled operations, no float64'

    def __init__(self) -> None:
        self.onednn, self.cpp = OneDNN(), Cpp()

    def unsupported(self, input, weight, bias) -> str | None:
        """Return the reason, see :class:`.Backend`."""
        reason = self.onednn.unsupported(input, weight, bias)
        return reason or self.cpp.unsupported(input, weight, bias)

    def slower(self, input, weight, bias) -> str | None:
        """Return the reason, see :class:`.Backend`."""
        reason = super().slower(input, weight, bias)
        if reason is not None:
            return reason
        if max(weight.shape[2:]) >= _LEAST_FOR_CPP:
            return f"'cpp' alone is faster for kernel sides from {_LEAST_FOR_CPP} on"
        if input.dtype != torch.float32:
            return f"'cpp' alone is faster in {input.dtype}"
        return None

    def conv(self, input, weight, bias, flip) -> Tensor:
        """Convolve by oneDNN."""
        return self.onednn.conv(input, weight, bias, flip)

    def weight_gradient(self, input, grad, kh, kw) -> Tensor:
        """Return the gradient of the kernel, in C++."""
        return self.cpp.weight_gradient(input, grad, kh, kw)
