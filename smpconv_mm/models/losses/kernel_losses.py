"""Penalties on kernels that networks make.

FlexConv, ICLR 2022 (section 3.3); CCNN, ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import pi

import torch
from torch import Tensor, nn

from smpconv_mm.layers import FlexKernel, KernelConv, MAGNet
from smpconv_mm.registry import MODELS


def nyquist_frequency(taps: int) -> float:
    """Highest frequency of a grid on [-1, 1], in periods per unit of position."""
    return (taps - 1) / 4


@MODELS.register_module()
class KernelNormLoss(nn.Module):
    """Sum of the norms of kernels and biases, not squared, times a factor.

    The "weight decay" of CKConv and FlexConv. It acts on the kernels as they were
    made for the batch.

    Args:
        loss_weight (float): The factor.
    """

    name = 'loss_kernel_norm'

    def __init__(self, loss_weight: float) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(
        self, kernels: Mapping[KernelConv, Tensor], model: nn.Module | None = None
    ) -> Tensor:
        """Penalty of layers and their kernels, ``(out, in, *taps)``."""
        total = []
        for layer, kernel in kernels.items():
            total.append(kernel.norm())
            if layer.bias is not None:
                total.append(layer.bias.norm())
        return self.loss_weight * torch.stack(total).sum()


@MODELS.register_module()
class ParameterNormLoss(KernelNormLoss):
    """Sum of the norms of kernels and of all other parameters, times a factor.

    The "weight decay" of CCNN. Norms are not squared. Biases, norm layers and widths of
    masks count; parameters that make kernels count by the kernels that they made.

    Args:
        loss_weight (float): The factor.
    """

    name = 'loss_parameter_norm'

    def forward(self, kernels: Mapping[KernelConv, Tensor], model: nn.Module) -> Tensor:
        """Penalty of a model and the kernels of its layers, ``(out, in, *taps)``."""
        makers: set[nn.Parameter] = set()
        for layer in kernels:
            makers.update(getattr(layer.kernel, 'net', layer.kernel).parameters())
        others = (p for p in model.parameters() if p not in makers)
        norms = [value.norm() for value in (*kernels.values(), *others)]
        return self.loss_weight * torch.stack(norms).sum()


@MODELS.register_module()
class AliasingLoss(nn.Module):
    """Penalty on frequencies of kernels that a grid cannot hold.

    A filter of a :class:`~smpconv_mm.layers.MAGNet` holds frequencies up to that of
    its sine plus that of its Gaussian, ``stddevs`` standard deviations in the
    spectrum. As filters are multiplied their frequencies add, and the mask of a
    FlexConv adds its own. What exceeds the Nyquist frequency is squared and summed.
    Kernels of other networks, or without a mask, have no penalty.

    Args:
        size (int, optional): Taps of the grid. Defaults to None: ``kernel_size`` of
            each kernel.
        loss_weight (float): Factor. Defaults to 0.1.
        target (str): ``'gabor'``; ``'gabor+mask'``; ``'sines'`` or ``'gausses'``, a
            part of the former. Defaults to ``'gabor'``.
        method (str): ``'together'``: every filter (and an equal share of the mask)
            may have an equal part of the Nyquist frequency. ``'summed'``: only their
            sum is compared. Defaults to ``'together'``.
        stddevs (float): Defaults to 2.
        penalty (str): ``'l2_relu'``, or ``'offset_elu'``: ``5 * (elu(e - 4) + 1)``
            of the excess e. Defaults to ``'l2_relu'``.
        per_unit (bool): Add sine and Gaussian of each unit and axis, then take the
            largest. False takes the largest of both by itself, as the published
            program does, which is never less. Defaults to True.

    Raises:
        ValueError: If an argument is wrong.
    """

    name = 'loss_aliasing'

    def __init__(
        self,
        size: int | None = None,
        *,
        loss_weight: float = 0.1,
        target: str = 'gabor',
        method: str = 'together',
        stddevs: float = 2.0,
        penalty: str = 'l2_relu',
        per_unit: bool = True,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ('target', target, ('sines', 'gausses', 'gabor', 'gabor+mask')),
            ('method', method, ('together', 'summed')),
            ('penalty', penalty, ('l2_relu', 'offset_elu')),
        ):
            if value not in known:
                raise ValueError(f'{name} must be one of {known}, got {value!r}')
        if size is not None and size < 2:
            raise ValueError(f'size must be at least 2 taps, got {size}')
        self.size = size
        self.loss_weight = loss_weight
        self.target = target
        self.method = method
        self.stddevs = stddevs
        self.penalty = penalty
        self.per_unit = per_unit

    def frequencies(self, kernel: FlexKernel) -> tuple[Tensor, Tensor]:
        """Highest frequency of each filter, (num_layers + 1,), and of the mask, ()."""
        filters = []
        for filter in kernel.net.filters:
            sine = filter.linear.weight.abs()
            gaussian = self.stddevs * filter.gamma.abs().expand_as(sine)
            if self.target == 'sines':
                filters.append(sine.max())
            elif self.target == 'gausses':
                filters.append(gaussian.max())
            elif self.per_unit:
                filters.append((sine + gaussian).max())
            else:
                filters.append(sine.max() + filter.gamma.abs().max() * self.stddevs)
        sigma = kernel.mask_params[:, 1].abs().clamp(min=1e-4)
        mask = self.stddevs / sigma.min()
        return torch.stack(filters) / (2 * pi), mask / (2 * pi)

    def excess(self, kernel: FlexKernel) -> Tensor:
        """How far frequencies exceed their limits: one number, or one a filter."""
        filters, mask = self.frequencies(kernel)
        limit = nyquist_frequency(self.size or max(kernel.kernel_size))
        number = len(filters)
        with_mask = self.target == 'gabor+mask'
        if self.method == 'summed':
            return filters.sum(0, keepdim=True) + mask * with_mask - limit
        return filters + mask * with_mask / number - limit / number

    def forward(
        self, kernels: Mapping[KernelConv, Tensor], model: nn.Module | None = None
    ) -> Tensor:
        """Penalty of layers; the kernels that they made are not needed."""
        excess = [
            self.excess(layer.kernel)
            for layer in kernels
            if isinstance(layer.kernel, FlexKernel)
            and isinstance(layer.kernel.net, MAGNet)
        ]
        if not excess:
            raise ValueError(
                'AliasingLoss: the model has no FlexKernel made by a MAGNet or GaborNet'
            )
        total = torch.cat(excess)
        if self.penalty == 'l2_relu':
            terms = total.relu().square()
        else:
            above = total - 4
            # elu + 1, without the rounding of a sum
            terms = 5 * (above.relu() + above.clamp(max=0).exp())
        return self.loss_weight * terms.sum()
