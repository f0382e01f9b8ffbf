"""Multiplicative filter networks, which make a kernel, or any function, from positions.

Fathony et al., ICLR 2021; MAGNet: Romero et al., FlexConv, ICLR 2022, and Knigge et
al., CCNN, ICLR 2023.
"""

from __future__ import annotations

from math import pi, sqrt

import torch
from torch import Tensor, nn

from smpconv_mm.registry import MODELS

from .kernel_nets import KernelNet, PointwiseLinear, start_bias


class FourierFilter(nn.Module):
    """``sin(W x + b)``.

    Args:
        in_channels (int): Axes of the positions.
        channels (int): Number of sines.
        input_scale (float): Factor of the initial frequencies, which without it
            are those of ``nn.Linear``.
    """

    def __init__(self, in_channels: int, channels: int, input_scale: float) -> None:
        super().__init__()
        self.linear = PointwiseLinear(in_channels, channels)
        self._start(input_scale)

    @torch.no_grad()
    def _start(self, input_scale: float | Tensor) -> None:
        self.linear.weight.mul_(input_scale)
        nn.init.uniform_(self.linear.bias, -pi, pi)

    def forward(self, positions: Tensor) -> Tensor:
        """(in_channels, P) to (channels, P)."""
        return torch.sin(self.linear(positions))


class GaborFilter(FourierFilter):
    """Sines under Gaussians: ``exp(-|gamma (x - mu)|^2 / 2) * sin(W x + b)``.

    Args:
        in_channels (int): Axes of the positions.
        channels (int): Number of filters.
        input_scale (float): Factor of the initial frequencies, beside ``gamma``.
        concentration (float): Of the gamma distribution of initial ``gamma``.
        rate (float): The same.
        mu_range (float): Initial centres lie within plus and minus this.
        isotropic (bool): One ``gamma`` for all axes.
        steerable (bool): Turn the Gaussians by an angle each (two axes).

    Attributes:
        mu (Parameter): Centres, (channels, in_channels).
        gamma (Parameter): Inverse standard deviations, of any sign, (channels,
            in_channels) or (channels, 1).
        theta (Parameter, optional): Angles in full turns, (channels,).
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        input_scale: float,
        concentration: float,
        rate: float,
        mu_range: float,
        isotropic: bool,
        steerable: bool,
    ) -> None:
        nn.Module.__init__(self)
        if steerable and in_channels != 2:
            raise ValueError(
                f'steerable=True turns Gaussians in a plane; positions have '
                f'{in_channels} axes, leave it out'
            )
        # in the order of the original, so that a seed gives its values
        self.linear = PointwiseLinear(in_channels, channels)
        self.mu = nn.Parameter(mu_range * (2 * torch.rand(channels, in_channels) - 1))
        shape = channels, 1 if isotropic else in_channels
        gamma = torch.distributions.Gamma(concentration, rate)
        self.gamma = nn.Parameter(gamma.sample(shape))
        self._start(input_scale * self.gamma)
        self.theta = nn.Parameter(torch.rand(channels)) if steerable else None

    def forward(self, positions: Tensor) -> Tensor:
        """(in_channels, P) to (channels, P)."""
        delta = positions - self.mu[:, :, None]
        if self.theta is not None:
            cos, sin = (f(2 * pi * self.theta)[:, None] for f in (torch.cos, torch.sin))
            one, two = delta.unbind(1)
            delta = torch.stack([cos * one + sin * two, cos * two - sin * one], 1)
        squared = (self.gamma[:, :, None] * delta).square().sum(1)
        return torch.exp(-squared / 2) * super().forward(positions)


class MultiplicativeNet(KernelNet):
    """Products of linear layers and filters of the positions.

    ``z_0 = g_0(x); z_l = g_l(x) * (A_l z_(l-1) + a_l); out = A z_L + a``

    Args:
        *args: Of :class:`KernelNet`, also by name. There are ``num_layers + 1``
            filters.
        input_scale (float): Factor of the initial frequencies of all filters
            together.
        weight_scale (float): Of the variance of the initial ``A_l``. Defaults to 1.
        bias_init (str, optional): How ``a_l`` and ``a`` start: ``'zero'``;
            ``'uniform'`` in [-1, 1]; None, as those of ``nn.Linear``. Defaults to
            None.
        **kwargs: Of :class:`KernelNet`.
    """

    least_layers = 1

    def __init__(
        self,
        *args,
        input_scale: float,
        weight_scale: float = 1.0,
        bias_init: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        hidden = self.hidden_channels
        self.linears = nn.ModuleList(
            PointwiseLinear(hidden, hidden) for _ in range(self.num_layers)
        )
        self.output = PointwiseLinear(hidden, self.out_channels)
        bound = sqrt(weight_scale / hidden)
        for linear in self.linears:
            nn.init.uniform_(linear.weight, -bound, bound)
        for linear in (*self.linears, self.output):
            start_bias(linear.bias, bias_init)
        number = self.num_layers + 1
        self.filters = nn.ModuleList(
            self._filter(i, input_scale / sqrt(number)) for i in range(number)
        )

    def _filter(self, index: int, input_scale: float) -> nn.Module:
        raise NotImplementedError

    def features(self, positions: Tensor) -> Tensor:
        """See :class:`KernelNet`."""
        z = self.filters[0](positions)
        for linear, filter in zip(self.linears, self.filters[1:]):
            z = filter(positions) * linear(z)
        return z


@MODELS.register_module()
class FourierNet(MultiplicativeNet):
    """Multiplicative network of sines.

    Args:
        *args: Of :class:`KernelNet`, also by name.
        input_scale (float): Defaults to 256, as published.
        **kwargs: Of :class:`MultiplicativeNet`.
    """

    def __init__(self, *args, input_scale: float = 256.0, **kwargs) -> None:
        super().__init__(*args, input_scale=input_scale, **kwargs)

    def _filter(self, index: int, input_scale: float) -> nn.Module:
        return FourierFilter(self.in_channels, self.hidden_channels, input_scale)


@MODELS.register_module()
class MAGNet(MultiplicativeNet):
    """Multiplicative anisotropic Gabor network (FlexConv, section 3.2).

    Deeper filters start wider: ``gamma`` is from a gamma distribution of
    concentration ``alpha / (l + 1)`` and rate ``beta`` in filter l.

    Args:
        *args: Of :class:`KernelNet`, also by name.
        input_scale (float): Defaults to 25.6.
        alpha (float): Defaults to 6.
        beta (float): Defaults to 1.
        mu_range (float): Initial centres lie within plus and minus this.
            Defaults to 1.
        isotropic (bool): Let Gaussians be as wide along all axes. Defaults to
            False.
        steerable (bool): Let Gaussians turn by learned angles (two axes).
            Defaults to False.
        **kwargs: Of :class:`MultiplicativeNet`.
    """

    def __init__(
        self,
        *args,
        input_scale: float = 25.6,
        alpha: float = 6.0,
        beta: float = 1.0,
        mu_range: float = 1.0,
        isotropic: bool = False,
        steerable: bool = False,
        **kwargs,
    ) -> None:
        self._gaussians = dict(
            rate=beta, mu_range=mu_range, isotropic=isotropic, steerable=steerable
        )
        self._alpha = alpha
        super().__init__(*args, input_scale=input_scale, **kwargs)

    def _filter(self, index: int, input_scale: float) -> nn.Module:
        return GaborFilter(
            self.in_channels,
            self.hidden_channels,
            input_scale,
            concentration=self._concentration(index),
            **self._gaussians,
        )

    def _concentration(self, index: int) -> float:
        return self._alpha / (index + 1)


@MODELS.register_module()
class CCNNMAGNet(MAGNet):
    """MAGNet with the initial values of CCNN (arXiv 2301.10540).

    Sines have frequencies of the order of ``omega_0 * gamma`` and no phase, the
    ``a_l`` are 1, and all linear layers keep the variance.

    Args:
        *args: Of :class:`KernelNet`, also by name.
        omega_0 (float): Factor of the initial frequencies, in periods per unit of
            position. The published recipes have 679 to 4232. Defaults to 1000.
        mu_range (float): Initial centres lie within plus and minus this, or below 1
            by at most this if ``causal``. Defaults to 1.
        causal (bool): Put centres where a causal kernel has its newest taps.
            Defaults to False.
        **kwargs: ``alpha``, ``beta``, ``isotropic`` and ``steerable`` of
            :class:`MAGNet`.
    """

    def __init__(
        self,
        *args,
        omega_0: float = 1000.0,
        mu_range: float = 1.0,
        causal: bool = False,
        **kwargs,
    ) -> None:
        if not omega_0 > 0:
            raise ValueError(f'omega_0 must be positive, got {omega_0}')
        super().__init__(
            *args,
            input_scale=2 * pi * omega_0,
            weight_scale=3.0,
            bias_init='zero',
            mu_range=mu_range,
            **kwargs,
        )
        bound = sqrt(3 / self.hidden_channels)
        nn.init.uniform_(self.output.weight, -bound, bound)
        for linear in self.linears:
            nn.init.ones_(linear.bias)
        for filter in self.filters:
            nn.init.zeros_(filter.linear.bias)
            if causal:
                filter.mu.data = 1 - (filter.mu.data + mu_range) / 2

    def _filter(self, index: int, input_scale: float) -> nn.Module:
        # of each filter, not shared among them
        return super()._filter(index, input_scale * sqrt(self.num_layers + 1))


@MODELS.register_module()
class GaborNet(MAGNet):
    """Multiplicative network of isotropic Gabor filters.

    Arguments as for :class:`MAGNet` but ``isotropic``. All filters start with
    ``gamma`` of concentration ``alpha / (num_layers + 1)``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, isotropic=True, **kwargs)

    def _concentration(self, index: int) -> float:
        return self._alpha / (self.num_layers + 1)
