"""The ordinary convolution kernel."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smpconv_mm.registry import MODELS

from .kernel import Kernel, is_whole


@MODELS.register_module()
class DenseKernel(Kernel):
    """A kernel with one weight a tap, as in ``nn.Conv2d``.

    The baseline for other kernels: a layer with it computes and learns what the
    ordinary convolution does. At another ``kernel_size`` than the trained one
    the weights are interpolated linearly, the outermost taps staying in place.

    Args:
        *args: ``in_channels``, ``out_channels``, ``kernel_size`` and ``ndim`` of
            :class:`Kernel`.
        **kwargs: ``causal`` and ``depthwise`` of :class:`Kernel`, which make no
            difference here.

    Attributes:
        weight (Parameter): Shape ``(out_channels, in_channels, *trained_size)``;
            starts as in ``nn.Conv2d``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        shape = self.out_channels, self.in_channels, *self.trained_size
        self.weight = nn.Parameter(torch.empty(shape))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights as ``nn.Conv2d`` does."""
        nn.init.kaiming_uniform_(self.weight, a=sqrt(5))

    def sample(self) -> Tensor:
        """The weights."""
        if self.kernel_size == self.trained_size:
            return self.weight
        mode = ('linear', 'bilinear', 'trilinear')[self.ndim - 1]
        return F.interpolate(
            self.weight.float() if self.weight.itemsize < 4 else self.weight,
            self.kernel_size,
            mode=mode,
            align_corners=True,
        )

    def shapes_for(
        self, state_dict: Mapping[str, Tensor], prefix: str = ''
    ) -> dict[str, torch.Size]:
        """Weights take over the size that a state dict was trained at."""
        weight, size = (state_dict.get(prefix + k) for k in ('weight', '_trained_size'))
        if weight is None or size is None or not is_whole(weight):
            return {}
        shape = (*self.weight.shape[:2], *size.tolist())
        return {'weight': weight.shape} if weight.shape == shape else {}
