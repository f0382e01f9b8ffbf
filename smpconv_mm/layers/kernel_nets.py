"""Point-wise networks that make a kernel, or any function, from positions.

SIREN: Sitzmann et al., NeurIPS 2020. As generators of convolution kernels: Romero et
al., CKConv, ICLR 2022. Networks of filters are in ``filter_nets.py``.
"""

from __future__ import annotations

from math import sqrt

import torch
import torch.nn.functional as F
from mmcv.cnn import build_activation_layer, build_norm_layer
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm as add_weight_norm

from smpconv_mm.registry import MODELS


class PointwiseLinear(nn.Linear):
    """A linear map of the channels at each position: (in, P) to (out, P)."""

    def forward(self, input: Tensor, window: Tensor | None = None) -> Tensor:
        """Map ``input``; times ``window`` (P,), with no pass over the outputs."""
        if window is None:
            return torch.addmm(self.bias[:, None], self.weight, input)
        weight = torch.cat([self.weight, self.bias[:, None]], dim=1)
        return weight @ torch.cat([input * window, window[None]])


class KernelNet(nn.Module):
    """What networks of positions share.

    Args:
        in_channels (int): Axes of the positions.
        out_channels (int): Values at each position.
        hidden_channels (int): Width. Defaults to 32.
        num_layers (int): Layers; at least 2 of an :class:`MLP` or
            :class:`SIREN`, at least 1 of a multiplicative network. Defaults to 3.

    Input: positions ``(N, in_channels, *grid)``, in [-1, 1]. Output: values
    ``(N, out_channels, *grid)``.

    Attributes:
        output (PointwiseLinear): The last layer.

    Raises:
        ValueError: If an argument or the shape of an input is wrong.
    """

    least_layers = 2
    output: PointwiseLinear

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden_channels: int = 32,
        num_layers: int = 3,
    ) -> None:
        super().__init__()
        sizes = in_channels, out_channels, hidden_channels
        if min(sizes) < 1 or num_layers < self.least_layers:
            raise ValueError(
                f'{type(self).__name__} needs positive numbers of channels and at '
                f'least {self.least_layers} layers, got in_channels={in_channels}, '
                f'out_channels={out_channels}, hidden_channels={hidden_channels}, '
                f'num_layers={num_layers}'
            )
        self.in_channels, self.out_channels, self.hidden_channels = sizes
        self.num_layers = num_layers

    def features(self, positions: Tensor) -> Tensor:
        """What the last layer takes, (hidden_channels, P), at (in_channels, P)."""
        raise NotImplementedError

    def forward(self, positions: Tensor, window: Tensor | None = None) -> Tensor:
        """Values at all positions of a grid.

        Args:
            positions (Tensor): Shape ``(N, in_channels, *grid)``.
            window (Tensor, optional): Shape ``(N, *grid)``; multiplies the values.
                Defaults to None.
        """
        if positions.dim() < 3 or positions.shape[1] != self.in_channels:
            raise ValueError(
                f'{type(self).__name__} expects positions of shape (N, '
                f'{self.in_channels}, *grid), got {tuple(positions.shape)}'
            )
        first = positions.transpose(0, 1)
        features = self.features(first.flatten(1))
        values = self.output(features, None if window is None else window.flatten())
        return values.unflatten(1, first.shape[1:]).transpose(0, 1)

    def _inputs(self) -> list[int]:
        """Channels that each layer takes, of a net of plain layers."""
        return [self.in_channels, *[self.hidden_channels] * (self.num_layers - 1)]


@MODELS.register_module()
class MLP(KernelNet):
    """Linear layers, each but the last with norm and activation.

    Args:
        *args: Of :class:`KernelNet`, also by name.
        norm_cfg (dict, optional): Norm of hidden layers, such as
            ``dict(type='GN', num_groups=1)``. A batch norm takes its statistics
            over positions; one position has none, and is normalised by the running
            ones in training too. Defaults to batch norm, as published.
        act_cfg (dict, optional): Defaults to ReLU.
        weight_norm (bool): Hold weights as direction and length. Defaults to
            False.
        **kwargs: Of :class:`KernelNet`.
    """

    def __init__(
        self,
        *args,
        norm_cfg: dict | None = dict(type='BN1d'),  # noqa: B006  (read only)
        act_cfg: dict | None = None,
        weight_norm: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        widths = self._inputs()
        self.layers = nn.ModuleList(map(PointwiseLinear, widths, widths[1:]))
        self.output = PointwiseLinear(widths[-1], self.out_channels)
        self.norms = nn.ModuleList(
            nn.Identity() if norm_cfg is None else build_norm_layer(norm_cfg, width)[1]
            for width in widths[1:]
        )
        self.act = build_activation_layer(act_cfg or dict(type='ReLU'))
        for layer in (*self.layers, self.output):
            nn.init.zeros_(layer.bias)
            if weight_norm:
                add_weight_norm(layer)

    def features(self, positions: Tensor) -> Tensor:
        """See :class:`KernelNet`."""
        x = positions
        for layer, norm in zip(self.layers, self.norms):
            x = self.act(_normalised(norm, layer(x)[None]))[0]
        return x


def _normalised(norm: nn.Module, x: Tensor) -> Tensor:
    """The norm of (1, channels, P); torch has no batch norm of P = 1 in training."""
    if x.shape[-1] == 1 and getattr(norm, 'running_mean', None) is not None:
        running = norm.running_mean, norm.running_var
        return F.batch_norm(x, *running, norm.weight, norm.bias, eps=norm.eps)
    return norm(x)


class SineLayer(PointwiseLinear):
    """``sin(omega_0 * (W x + b))``, or ``sin(omega_0 * W x + b)``.

    Args:
        in_channels (int): Channels in.
        out_channels (int): Channels out.
        omega_0 (float): Frequency.
        learn_omega_0 (bool): Learn it. Defaults to False.
        scale_bias (bool): The first of the two formulas. Defaults to True.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        omega_0: float,
        learn_omega_0: bool = False,
        scale_bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels)
        self.scale_bias = scale_bias
        frequency = torch.tensor([float(omega_0)])
        if learn_omega_0:
            self.omega_0 = nn.Parameter(frequency)
        else:
            self.register_buffer('omega_0', frequency)

    def forward(self, input: Tensor) -> Tensor:
        """(in_channels, P) to (out_channels, P)."""
        if self.scale_bias:
            return torch.sin(self.omega_0 * super().forward(input))
        weight = self.omega_0 * self.weight
        return torch.sin(torch.addmm(self.bias[:, None], weight, input))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        # files of networks that did not save it
        state_dict.setdefault(prefix + 'omega_0', self.omega_0.detach())
        super()._load_from_state_dict(state_dict, prefix, *args)


@MODELS.register_module()
class SIREN(KernelNet):
    """Linear layers with sines: ``sin(omega_0 * (W x + b))``; the last is linear.

    Args:
        *args: Of :class:`KernelNet`, also by name.
        omega_0 (float): Frequency of all sines. Defaults to 30.
        learn_omega_0 (bool): Learn one frequency a layer. Defaults to False.
        weight_norm (bool): Hold weights as direction and length. Defaults to
            False.
        bias_init (str, optional): How biases start: ``'zero'``; ``'uniform'`` in
            [-1, 1]; None, as those of ``nn.Linear``. Defaults to None.
        **kwargs: Of :class:`KernelNet`.
    """

    scale_bias = True

    def __init__(
        self,
        *args,
        omega_0: float = 30.0,
        learn_omega_0: bool = False,
        weight_norm: bool = False,
        bias_init: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not omega_0 > 0:
            raise ValueError(f'omega_0 must be positive, got {omega_0}')
        widths = self._inputs()
        self.layers = nn.ModuleList(
            SineLayer(*pair, omega_0, learn_omega_0, self.scale_bias)
            for pair in zip(widths, widths[1:])
        )
        self.output = PointwiseLinear(widths[-1], self.out_channels)
        bound = 1 / self.in_channels
        for layer in (*self.layers, self.output):
            nn.init.uniform_(layer.weight, -bound, bound)
            start_bias(layer.bias, bias_init)
            bound = sqrt(6 / self.hidden_channels) / omega_0
            if weight_norm:
                add_weight_norm(layer)

    def features(self, positions: Tensor) -> Tensor:
        """See :class:`KernelNet`."""
        x = positions
        for layer in self.layers:
            x = layer(x)
        return x


@MODELS.register_module()
class NSIREN(SIREN):
    """As :class:`SIREN` with ``sin(omega_0 * W x + b)``: biases are phases."""

    scale_bias = False


def start_bias(bias: Tensor, how: str | None) -> None:
    """Give a bias its first values: ``'zero'``, ``'uniform'`` or None: torch's own."""
    if how not in (None, 'zero', 'uniform'):
        raise ValueError(f"bias_init must be None, 'zero' or 'uniform', got {how!r}")
    if how == 'zero':
        nn.init.zeros_(bias)
    elif how == 'uniform':
        nn.init.uniform_(bias, -1, 1)
