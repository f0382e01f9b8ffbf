"""FlexNet and FlexTCN: residual networks with kernels that small networks make.

Romero et al., "FlexConv: Continuous Kernel Convolutions with Differentiable Kernel
Sizes", ICLR 2022 (section 4.1 and appendix), and "CKConv", ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from smpconv_mm.registry import MODELS

from .base import check_rates
from .residual import ResidualBackbone


@MODELS.register_module()
class FlexNet(ResidualBackbone):
    """Residual blocks of convolutions with kernels as large as the image.

    A stem and blocks at the resolution of the input; nothing is downsampled.

    Args:
        in_channels (int): Channels of the input. Defaults to 3.
        kernel_size (int): Horizon: side of the largest kernel, odd for images.
            Defaults to 33.
        channels (Sequence[int]): Channels of each block. Defaults to those of
            FlexNet-7: 24, 24, 36, 36, 36, 48, 48.
        stem_channels (int): Channels of the stem. Defaults to 24.
        kernel_cfg (dict, optional): Type and arguments of all kernels, such as
            ``dict(type='CKKernel', kernel_net=dict(type='SIREN'))``,
            ``dict(type='NJetKernel')`` or ``dict(type='DenseKernel')``. Without a
            type it is a :class:`~smpconv_mm.layers.FlexKernel`. Defaults to None.
        conv_bias (bool): Biases of convolutions before their norms. Defaults to
            True.
        ndim (int): 2 for images; 1 for sequences, whose kernels are causal.
            Defaults to 2.
        **kwargs: ``dropout``, ``norm_cfg``, ``act_cfg``, ``out_indices``,
            ``with_cp``, ``deploy`` and ``init_cfg`` of
            :class:`~.residual.ResidualBackbone`.

    Input: images (N, in_channels, H, W) or sequences (N, in_channels, L). Output: a
    tuple, an entry each of ``out_indices``, of the same with channels[i]. Classifiers
    of sequences read the last sample: neck ``smpconv_mm.LastTimeStep``.

    Raises:
        ValueError: If an argument or the shape of an input is wrong.
    """

    def __init__(
        self,
        in_channels: int = 3,
        kernel_size: int = 33,
        channels: Sequence[int] = (24, 24, 36, 36, 36, 48, 48),
        stem_channels: int = 24,
        *,
        ndim: int = 2,
        kernel_cfg: dict | None = None,
        conv_bias: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(
            in_channels,
            kernel_size,
            channels,
            stem_channels,
            ndim=ndim,
            causal=ndim == 1,
            kernel_cfg={'type': 'FlexKernel', **(kernel_cfg or {})},
            conv_bias=conv_bias,
            **kwargs,
        )


@MODELS.register_module()
class FlexTCN(ResidualBackbone):
    """Causal residual blocks with kernels as long as the sequence.

    Args:
        in_channels (int): Channels of the input. Defaults to 1.
        kernel_size (int): Horizon: taps of the longest kernel, as many as the
            sequences have samples. Inputs may have any length. Defaults to 784.
        channels (Sequence[int]): Channels of each block. Defaults to 6 blocks
            of 30.
        input_dropout (float): Rate of element-wise dropout of the input. Defaults
            to 0.
        kernel_cfg (dict, optional): As of :class:`FlexNet`. Defaults to None.
        conv_bias (bool): Biases of convolutions before their norms. Defaults to
            True.
        **kwargs: ``dropout``, ``norm_cfg``, ``act_cfg``, ``out_indices``,
            ``with_cp``, ``deploy`` and ``init_cfg`` of
            :class:`~.residual.ResidualBackbone`.

    Input: sequences (N, in_channels, L), N and L at least 1. Output: a tuple, an
    entry each of ``out_indices``, of sequences (N, channels[i], L). Classifiers read
    the last sample: neck ``smpconv_mm.LastTimeStep``.

    Raises:
        ValueError: If an argument or the shape of an input is wrong.
    """

    def __init__(
        self,
        in_channels: int = 1,
        kernel_size: int = 784,
        channels: Sequence[int] = (30,) * 6,
        *,
        input_dropout: float = 0.0,
        kernel_cfg: dict | None = None,
        conv_bias: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(
            in_channels,
            kernel_size,
            channels,
            ndim=1,
            causal=True,
            act_before_sum=True,
            kernel_cfg={'type': 'FlexKernel', **(kernel_cfg or {})},
            conv_bias=conv_bias,
            **kwargs,
        )
        check_rates(input_dropout=input_dropout)
        self.stem = nn.Dropout(input_dropout)
