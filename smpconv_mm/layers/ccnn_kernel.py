"""Kernels of CCNN, the successors of those of FlexConv.

Knigge et al., "Modelling Long Range Dependencies in N-D: From Task-Specific to a
General Purpose CNN", ICLR 2023 (arXiv 2301.10540; before it arXiv 2206.03398).
"""

from __future__ import annotations

from math import ceil, prod

import torch
from torch import Tensor, nn

from smpconv_mm.registry import MODELS

from .flex_kernel import FlexKernel


@MODELS.register_module()
class CCNNKernel(FlexKernel):
    """A kernel made by a network, under a Gaussian of fixed mean and learned width.

    As a :class:`FlexKernel`, but:

    - the mean of the Gaussian is not learned, and its variance is at least 1e-8;
    - a causal kernel keeps one tap more, the one at the threshold or before it; a
      Gaussian that reaches beyond the kernel, on either side, crops nothing;
    - the network is a :class:`~.filter_nets.CCNNMAGNet`, and the initial weights of
      its last layer are divided by the root of the number of values that the
      convolution sums, so that outputs are not larger for larger kernels.

    Args:
        *args: Of :class:`FlexKernel`, also by name.
        kernel_net (dict, optional): As of :class:`FlexKernel`; of a ``CCNNMAGNet``,
            ``mu_range`` defaults to ``1.667 * mask_init`` and ``causal`` to that of
            the kernel. Defaults to None: ``CCNNMAGNet``.
        mask_init (float): Initial standard deviation of the Gaussian, in units of
            half a kernel. Defaults to 0.075.
        causal (bool): Of :class:`Kernel`. Defaults to False.
        **kwargs: Of :class:`FlexKernel`.

    Attributes:
        mask_width (Parameter): Standard deviation along each axis, (ndim,). Its sign
            makes no difference.
        mask_mean (Tensor): Mean along each axis, (ndim,), a buffer: 1 (now) of a
            causal kernel, else 0.
        mask_params (Tensor): Both, (ndim, 2).

    Raises:
        ValueError: If an argument is outside its range.
    """

    _grid_dtype = torch.float64

    def __init__(
        self,
        *args,
        kernel_net: dict | None = None,
        mask_init: float = 0.075,
        causal: bool = False,
        **kwargs,
    ) -> None:
        net = {'type': 'CCNNMAGNet', **(kernel_net or {})}
        if str(net['type']).rpartition('.')[2] == 'CCNNMAGNet':
            net = {'mu_range': 1.667 * mask_init, 'causal': causal, **net}
        super().__init__(
            *args, kernel_net=net, mask_init=mask_init, causal=causal, **kwargs
        )
        start = (1.0 if causal else 0.0, mask_init)
        taps = prod(end - first for first, end in self._kept([start] * self.ndim))
        with torch.no_grad():
            self.net.output.weight.mul_((self.in_channels * taps) ** -0.5)

    def _start_mask(self, mean: float, sigma: float) -> None:
        self.mask_width = nn.Parameter(torch.full((self.ndim,), float(sigma)))
        self.register_buffer('mask_mean', torch.full((self.ndim,), mean))

    @property
    def mask_params(self) -> Tensor:
        """Mean and standard deviation along each axis, (ndim, 2)."""
        return torch.stack([self.mask_mean.to(self.mask_width), self.mask_width], 1)

    @torch.no_grad()
    def kept_taps(self) -> list[tuple[int, int]]:
        """First tap that is kept, and one past the last, along each axis."""
        return self._kept(self.mask_params.double().tolist())

    def _kept(self, masks: list) -> list[tuple[int, int]]:
        kept = []
        for taps, (mean, sigma) in zip(self.kernel_size, masks):
            half_width = abs(sigma) * self._widths
            half = (taps - 1) / 2  # taps per unit of position
            first = 0
            if self.crop and self.causal:
                edge = mean - half_width
                first = int((edge + 1) * half) if -1 < edge < 1 else 0
            elif self.crop and abs(mean) + half_width < 1:
                edge = (abs(mean) + half_width) * half - (taps + 1) % 2 / 2
                first = (taps - 1) // 2 - max(ceil(edge + 1e-8) - 1, 0)
            kept.append((first, taps if self.causal else taps - first))
        return kept

    def _variance(self, sigma: Tensor) -> Tensor:
        return sigma * sigma + 1e-8

    def _inside(self, axis: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
        half_width = sigma.abs() * self._widths
        if self.causal:
            edge = mean - half_width
            step = 2 / max(len(axis) - 1, 1)
            inside = (axis > edge - step) | (edge >= 1)
        else:
            middle = axis.abs() <= 1.001 * axis[(len(axis) - 1) // 2].abs()
            inside = (axis.abs() <= mean.abs() + half_width) | middle
        return inside.to(axis.dtype)
