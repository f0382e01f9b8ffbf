"""SMP-TCN: the sequence network of SMPConv.

Kim and Park, "SMPConv: Self-moving Point Representations for Continuous
Convolution", CVPR 2023 (section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from smpconv_mm.layers.kernel import resampled_taps
from smpconv_mm.registry import MODELS

from .smp_block import LargeKernelConv, SMPResidualBackbone


@MODELS.register_module()
class SMPTCN(SMPResidualBackbone):
    """Causal residual blocks with kernels as long as the sequence.

    A block has two :class:`LargeKernelConv`: kernels made of points, parallel to
    small ones.

    Args:
        in_channels (int): Channels of the input. Defaults to 1.
        kernel_size (int): Taps of the SMP kernels, any number; as many as the
            training sequences have samples reach from each sample back to the
            first, as published. Inputs may have any length. Defaults to 784.
        channels (Sequence[int]): Channels of each block. Defaults to 6 blocks
            of 30.
        n_points (int): Points per output channel. Defaults to 30.
        coord_std (float): Spread of the initial points, which lie densest at
            the current sample. Defaults to 0.1.
        small_kernel_size (int): Taps of the kernels in parallel, at most
            ``kernel_size``. Defaults to 5.
        input_dropout (float): Rate of element-wise dropout of the input.
            Defaults to 0.
        sampling_rate (float): Rate of the inputs over that of the training; see
            the attribute. Defaults to 1.
        deploy (bool): Build the deploy form: one convolution with bias where
            the training form has two and their norms. Defaults to False.
        **kwargs: ``radius``, ``conv_bias``, ``dropout``, ``kernel_cfg``,
            ``norm_cfg``, ``act_cfg``, ``out_indices``, ``with_cp`` and
            ``init_cfg`` of :class:`SMPResidualBackbone`.

    Input: sequences of shape (N, in_channels, L), N and L at least 1. Output: a
    tuple, an entry each of ``out_indices``, of sequences (N, channels[i], L).
    Classifiers read the last sample: neck ``smpconv_mm.LastTimeStep``.

    Attributes:
        sampling_rate (float): Assign another one to read sequences that were
            recorded at another rate than those of the training: the SMP kernels
            are sampled at as many times more places, the small ones act on the
            interpolated sequence. Nothing need be done for sequences of another
            length at the same rate. Fixed in deploy form.

    Raises:
        ValueError: If an argument or the shape of an input is wrong.
    """

    ndim = 1

    def __init__(
        self,
        in_channels: int = 1,
        kernel_size: int = 784,
        channels: Sequence[int] = (30,) * 6,
        n_points: int = 30,
        coord_std: float = 0.1,
        small_kernel_size: int = 5,
        input_dropout: float = 0.0,
        sampling_rate: float = 1.0,
        deploy: bool = False,
        **kwargs,
    ) -> None:
        _check_rate(sampling_rate)
        if deploy:
            kernel_size = resampled_taps(kernel_size, sampling_rate)
            small_kernel_size = resampled_taps(small_kernel_size, sampling_rate)
        super().__init__(
            in_channels,
            kernel_size,
            channels,
            n_points=n_points,
            coord_std=coord_std,
            small_kernel_size=small_kernel_size,
            deploy=deploy,
            **kwargs,
        )
        if not 0 <= input_dropout < 1:
            raise ValueError(f'input_dropout must lie in [0, 1), got {input_dropout}')
        self.stem = nn.Dropout(input_dropout)
        self._sampling_rate = 1.0
        if deploy:
            self._sampling_rate = sampling_rate
        elif sampling_rate != 1:
            self.sampling_rate = sampling_rate

    @property
    def sampling_rate(self) -> float:
        """Rate of the inputs over that of the training."""
        return self._sampling_rate

    @sampling_rate.setter
    def sampling_rate(self, rate: float) -> None:
        _check_rate(rate)
        if self.deploy:
            raise ValueError(
                f'the kernels are fixed at sampling_rate={self._sampling_rate} in '
                'deploy form; set it before switch_to_deploy()'
            )
        for module in self.modules():
            if isinstance(module, LargeKernelConv):
                module.resample(rate)
        self._sampling_rate = rate


def _check_rate(rate: float) -> None:
    if not 0 < rate < float('inf'):
        raise ValueError(f'sampling_rate must be positive, got {rate}')
