"""SMP-TCN: the sequence network of SMPConv.

Kim and Park, "SMPConv: Self-moving Point Representations for Continuous
Convolution", CVPR 2023 (section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import nn

from smpconv_mm.layers import resample
from smpconv_mm.layers.resampling import resampled_taps
from smpconv_mm.registry import MODELS

from .base import check_rates
from .large_kernel import smp_kernel_cfg
from .residual import ResidualBackbone


@MODELS.register_module()
class SMPTCN(ResidualBackbone):
    """Causal residual blocks with kernels as long as the sequence.

    Large kernels lie in parallel to small ones.

    Args:
        in_channels (int): Channels of the input. Defaults to 1.
        kernel_size (int): Taps of the large kernels, any number; as many as the
            training sequences have samples reach from each sample back to the
            first, as published. Inputs may have any length. Defaults to 784.
        channels (Sequence[int]): Channels of each block. Defaults to 6 blocks
            of 30.
        small_kernel_size (int): Taps of the kernels in parallel, at most
            ``kernel_size``. Defaults to 5.
        n_points (int): Points per output channel. Defaults to 30.
        coord_std (float): Spread of the initial points, which lie densest at
            the current sample. Defaults to 0.1.
        radius (float, optional): Initial radius, in units of half a kernel.
            Defaults to None, which takes four over ``kernel_size``.
        kernel_cfg (dict, optional): Type and arguments of the large kernels, e.g.
            ``dict(learn_coord=False)`` or ``dict(type='DenseKernel')``. Kernels
            other than SMP's leave out the three arguments above. Defaults to
            None.
        input_dropout (float): Rate of element-wise dropout of the input.
            Defaults to 0.
        sampling_rate (float, optional): Rate of the inputs over that of the
            training; see the attribute. Defaults to None: 1, or that of the
            state dict that is loaded.
        deploy (bool): Build the deploy form: one convolution with bias where
            the training form has two and their norms. Defaults to False.
        init_cfg (dict | list[dict], optional): Defaults to None, which
            initialises as published: small kernels from a truncated normal of
            std 0.02.
        **kwargs: ``conv_bias``, ``dropout``, ``norm_cfg``, ``act_cfg``,
            ``out_indices`` and ``with_cp`` of
            :class:`~.residual.ResidualBackbone`.

    Input: sequences of shape (N, in_channels, L), N and L at least 1. Output: a
    tuple, an entry each of ``out_indices``, of sequences (N, channels[i], L).
    Classifiers read the last sample: neck ``smpconv_mm.LastTimeStep``.

    Attributes:
        sampling_rate (float): Assign another one to read sequences that were
            recorded at another rate than those of the training: the large
            kernels are sampled at as many times more places, the small ones act
            on the interpolated sequence. Nothing need be done for sequences of
            another length at the same rate. Fixed in deploy form. It is part of
            the state dict; one that is loaded does not change a rate that was
            given or assigned.

    Raises:
        ValueError: If an argument or the shape of an input is wrong.
    """

    def __init__(
        self,
        in_channels: int = 1,
        kernel_size: int = 784,
        channels: Sequence[int] = (30,) * 6,
        n_points: int = 30,
        coord_std: float = 0.1,
        small_kernel_size: int = 5,
        input_dropout: float = 0.0,
        sampling_rate: float | None = None,
        deploy: bool = False,
        radius: float | None = None,
        kernel_cfg: dict | None = None,
        init_cfg: dict | list | None = None,
        **kwargs,
    ) -> None:
        rate = 1.0 if sampling_rate is None else sampling_rate
        _check_rate(rate)
        if deploy:
            kernel_size = resampled_taps(kernel_size, rate)
            small_kernel_size = resampled_taps(small_kernel_size, rate)
        if init_cfg is None:
            init_cfg = dict(
                type='TruncNormal', layer=['CausalConv1d'], std=0.02, bias=0.0
            )
        super().__init__(
            in_channels,
            kernel_size,
            channels,
            ndim=1,
            causal=True,
            act_before_sum=True,
            small_kernel_size=small_kernel_size,
            kernel_cfg=smp_kernel_cfg(
                kernel_cfg, n_points=n_points, coord_std=coord_std, radius=radius
            ),
            deploy=deploy,
            init_cfg=init_cfg,
            **kwargs,
        )
        check_rates(input_dropout=input_dropout)
        self.stem = nn.Dropout(input_dropout)
        self._rate_given = sampling_rate is not None
        self._rate = self._loaded_rate = rate
        # for the state dict: a fraction, which no change of the dtype rounds
        self.register_buffer('_sampling_rate', _fraction(rate))
        self.register_load_state_dict_post_hook(_take_loaded_rate)
        if not deploy and rate != 1:
            resample(self.blocks, rate)

    @property
    def sampling_rate(self) -> float:
        """Rate of the inputs over that of the training."""
        return self._rate

    @sampling_rate.setter
    def sampling_rate(self, rate: float) -> None:
        self.resample(rate)

    def resample(self, rate: float) -> None:
        """Set the sampling rate; see :func:`smpconv_mm.layers.resample`."""
        _check_rate(rate)
        if self.deploy:
            raise ValueError(
                f'the kernels are fixed at sampling_rate={self._rate} in deploy '
                'form; set it before switch_to_deploy()'
            )
        resample(self.blocks, rate)
        self._set_rate(rate)
        self._rate_given = True

    def _set_rate(self, rate: float) -> None:
        self._rate = rate
        self._sampling_rate.copy_(_fraction(rate))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        loaded = state_dict.setdefault(prefix + '_sampling_rate', self._sampling_rate)
        if loaded.shape == (2,) and not loaded.is_meta:
            above, below = loaded.tolist()
            self._loaded_rate = above / below
        super()._load_from_state_dict(state_dict, prefix, *args)


def _take_loaded_rate(net: SMPTCN, _) -> None:
    """After kernels know from the state dict at which size they were trained."""
    rate = net._rate
    if net.deploy or not net._rate_given:
        rate = net._loaded_rate
    if rate != net._rate and not net.deploy:
        resample(net.blocks, rate)
    net._set_rate(rate)


def _fraction(rate: float) -> torch.Tensor:
    fraction = Fraction(rate).limit_denominator(10**9)
    return torch.tensor([fraction.numerator, fraction.denominator])


def _check_rate(rate: float) -> None:
    if not 0 < rate < float('inf'):
        raise ValueError(f'sampling_rate must be positive, got {rate}')
