"""Kernels of Gaussian derivatives (N-Jet), the baseline of learned sizes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import ceil

import torch
from torch import Tensor, nn

from smpconv_mm.ops.dispatch import transforming
from smpconv_mm.registry import MODELS

from .kernel import Kernel


@MODELS.register_module()
class NJetKernel(Kernel):
    """Sums of Gaussian derivatives of a learned scale.

    Pintea et al., "Resolution Learning in Deep Convolutional Networks Using
    Scale-Space Theory", IEEE Transactions on Image Processing 2021. The derivative of
    order n along an axis is ``(-1)^n He_n(x / sigma) g(x / sigma)``, with Hermite
    polynomials and a Gaussian whose taps sum to 1: it is normalised by the scale, so
    that its size does not depend on it. Taps are cropped at ``reach * sigma``.

    At another ``kernel_size`` than the trained one, sigma in taps grows with it.

    Args:
        in_channels (int): Input channels of one group.
        out_channels (int): Output channels.
        kernel_size (int | Sequence[int]): The most taps.
        ndim (int): Defaults to 2.
        order (int): Highest total order of the derivatives. Defaults to 4.
        sigma (float): Initial scale, in taps. Defaults to 1.
        reach (float): Defaults to 2.
        **kwargs: ``causal`` (must be False) and ``depthwise`` of :class:`Kernel`.

    Attributes:
        weight (Parameter): One number a derivative, (out_channels, in_channels,
            derivatives).
        log_sigma (Parameter): Binary logarithm of the scale, in taps at the trained
            size, of shape ().

    Raises:
        ValueError: If an argument is outside its range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        ndim: int = 2,
        *,
        order: int = 4,
        sigma: float = 1.0,
        reach: float = 2.0,
        **kwargs,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, ndim, **kwargs)
        if self.causal:
            raise ValueError('an N-Jet lies around its sample; it cannot be causal')
        if order < 0 or not min(sigma, reach) > 0:
            raise ValueError(
                f'order must be at least 0, sigma and reach positive, got {order}, '
                f'{sigma} and {reach}'
            )
        self.order, self.reach = order, reach
        self.orders = [
            orders
            for orders in product(range(order + 1), repeat=ndim)
            if sum(orders) <= order
        ]
        self.log_sigma = nn.Parameter(torch.tensor(float(sigma)).log2())
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels, len(self.orders))
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights as ``nn.Linear`` does of as many inputs."""
        bound = (self.in_channels * len(self.orders)) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def derivatives(self) -> Tensor:
        """The filters, ``(derivatives, *taps)``."""
        dtype = torch.promote_types(self.log_sigma.dtype, torch.float32)
        sigma = self.log_sigma.to(dtype).exp2()
        lines = []
        for taps, trained in zip(self.kernel_size, self.trained_size):
            rate = (taps - 1) / (trained - 1) if min(taps, trained) > 1 else 1.0
            half = (taps - 1) // 2
            if not (
                torch.compiler.is_compiling()
                or transforming()
                or type(self.log_sigma) is not nn.Parameter
            ):
                half = min(half, ceil(self.reach * rate * float(sigma.detach())))
            x = torch.arange(-half, half + 1, device=sigma.device, dtype=dtype)
            inside = (x.abs() < self.reach * rate * sigma.detach() + 1).to(dtype)
            x = x / (rate * sigma)
            gaussian = torch.exp(-x.square() / 2) * inside
            gaussian = gaussian / gaussian.sum()
            polynomials = [torch.ones_like(x), x]
            for n in range(1, self.order):
                polynomials.append(x * polynomials[n] - n * polynomials[n - 1])
            signs = [(-1) ** n for n in range(self.order + 1)]
            lines.append([s * p * gaussian for s, p in zip(signs, polynomials)])
        filters = []
        for orders in self.orders:
            filter = lines[0][orders[0]]
            for line, n in zip(lines[1:], orders[1:]):
                filter = filter[..., None] * line[n]
            filters.append(filter)
        return torch.stack(filters)

    def sample(self) -> Tensor:
        """Sum the derivatives up."""
        filters = self.derivatives()
        weight = self.weight.to(filters.dtype)
        return torch.tensordot(weight, filters, dims=1)

    def scale(self) -> float:
        """1, as the Gaussian is normalised at every size."""
        return 1.0
