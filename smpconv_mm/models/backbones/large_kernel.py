"""Blocks around convolutions with large kernels.

A large kernel in parallel to a small one, and bottlenecks of 1x1 convolutions
around them: Ding et al., "Scaling Up Your Kernels to 31x31" (RepLKNet), CVPR 2022;
with kernels made of points: Kim and Park, SMPConv, CVPR 2023 (sections 4.2 to 4.4).
"""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_norm_layer
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from smpconv_mm.layers.kernel import reach
from smpconv_mm.layers.kernel_conv import layer_for
from smpconv_mm.layers.reparam import fold_norm_before, switch_to_deploy


def smp_kernel_cfg(kernel_cfg: dict | None, **points) -> dict:
    """Config of a kernel; that of points where it names no other type.

    Args:
        kernel_cfg (dict, optional): Type and arguments of a registered kernel.
        **points: Arguments of :class:`~smpconv_mm.layers.SMPKernel` that hold
            unless ``kernel_cfg`` has others. They are left out for other types.
    """
    cfg = {'type': 'SMPKernel', **(kernel_cfg or {})}
    return {**points, **cfg} if cfg['type'] in _POINTS else cfg


_POINTS = ('SMPKernel', 'smpconv_mm.SMPKernel')


class LargeKernelConv(nn.Module):
    """A convolution with a large kernel plus a parallel small one, each with norm.

    Inputs keep their size. In deploy form it is one convolution with bias, held
    by ``smp.conv`` (checkpoints have this name whatever makes the kernel).

    Args:
        in_channels (int): Channels in.
        out_channels (int): Channels out.
        kernel_size (int): Side of the large kernel.
        small_kernel_size (int, optional): Side of the parallel kernel, an
            ordinary one; odd unless causal. Defaults to None: no such branch.
        ndim (int): 1 for sequences, 2 for maps. Defaults to 2.
        causal (bool): Outputs depend on their own and earlier samples only.
            Defaults to False.
        groups (int): Defaults to 1.
        bias (bool): Bias of the large kernel's convolution before its norm.
            Defaults to False.
        small_bias (bool): The same of the small one. Defaults to False.
        norm_cfg (dict, optional): Norm of both branches. Defaults to None.
        kernel_cfg (dict, optional): Type and arguments of the large kernel.
            Defaults to None: :class:`~smpconv_mm.layers.SMPKernel`.
        deploy (bool): Build the deploy form. Defaults to False.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        small_kernel_size: int | None = None,
        *,
        ndim: int = 2,
        causal: bool = False,
        groups: int = 1,
        bias: bool = False,
        small_bias: bool = False,
        norm_cfg: dict | None = None,
        kernel_cfg: dict | None = None,
        deploy: bool = False,
    ) -> None:
        super().__init__()
        self.causal = causal
        shared = dict(
            in_channels=in_channels,
            out_channels=out_channels,
            groups=groups,
            norm_cfg=None if deploy else norm_cfg,
            act_cfg=None,
        )
        kernel = smp_kernel_cfg(kernel_cfg)
        with warnings.catch_warnings():
            # published models have biases before batch norms
            warnings.filterwarnings('ignore', 'Unnecessary conv bias')
            self.smp = ConvModule(
                kernel_size=kernel_size,
                padding='same',
                bias=bias or deploy,
                conv_cfg=dict(
                    type=f'smpconv_mm.{layer_for(kernel, ndim).__name__}',
                    kernel=kernel,
                    causal=causal,
                    deploy=deploy,
                ),
                **shared,
            )
            self.small_conv = None
            if not deploy and small_kernel_size is not None:
                self.small_conv = ConvModule(
                    kernel_size=small_kernel_size,
                    padding=0 if causal else small_kernel_size // 2,
                    bias=small_bias,
                    conv_cfg=_small_conv_cfg(ndim, causal),
                    **shared,
                )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, *spatial) to (N, out_channels, *spatial)."""
        out = self.smp(x)
        return out if self.small_conv is None else out + self.small_conv(x)

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Merge both branches and their norms into one convolution."""
        large = switch_to_deploy(self.smp).conv
        if self.small_conv is None:
            return
        small = switch_to_deploy(self.small_conv).conv
        large.weight = nn.Parameter(
            _sum_of_kernels(large.weight, small.weight, self.causal)
        )
        if large.bias is None:
            large.bias = small.bias
        elif small.bias is not None:
            large.bias += small.bias
        self.small_conv = None


def _small_conv_cfg(ndim: int, causal: bool) -> dict:
    if causal:
        return dict(type='smpconv_mm.CausalConv1d')
    if ndim == 2:
        return dict(type='smpconv_mm.DepthwiseConv2d')
    return dict(type=f'Conv{ndim}d')


def _sum_of_kernels(one: Tensor, two: Tensor, causal: bool) -> Tensor:
    """Add kernels of any sides, current sample upon current sample."""
    sides = [[reach(k, causal) for k in kernel.shape[2:]] for kernel in (one, two)]
    total = []
    for kernel, own in zip((one, two), sides):
        padding = []
        for axis in reversed(range(len(own))):
            for end in (0, 1):
                padding.append(max(s[axis][end] for s in sides) - own[axis][end])
        total.append(F.pad(kernel, padding))
    return total[0] + total[1]


class Bottleneck(nn.Module):
    """Residual block with a norm first: norm, 1x1, what lies between, 1x1.

    Args:
        channels (int): Channels in and out.
        hidden_channels (int): Channels between the 1x1 convolutions.
        norm_cfg (dict): Norm first and after each convolution.
        act_cfg (dict, optional): Activation of the first 1x1 convolution.
            Defaults to None.
        drop_path (float): Rate of stochastic depth. Defaults to 0.
        deploy (bool): Build the deploy form. Defaults to False.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        *,
        norm_cfg: dict,
        act_cfg: dict | None = None,
        drop_path: float = 0.0,
        deploy: bool = False,
    ) -> None:
        super().__init__()
        self.norm = nn.Identity() if deploy else build_norm_layer(norm_cfg, channels)[1]
        norm_cfg = None if deploy else norm_cfg
        self.pw1 = ConvModule(
            channels, hidden_channels, 1, norm_cfg=norm_cfg, act_cfg=act_cfg
        )
        self.pw2 = ConvModule(
            hidden_channels, channels, 1, norm_cfg=norm_cfg, act_cfg=None
        )
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def between(self, x: Tensor) -> Tensor:
        """What lies between the 1x1 convolutions."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        out = self.pw2(self.between(self.pw1(self.norm(x))))
        return x + self.drop_path(out)

    def switch_to_deploy(self) -> None:
        """Fold all norms."""
        for child in self.children():
            switch_to_deploy(child)
        if not isinstance(self.norm, nn.Identity):
            fold_norm_before(self.norm, self.pw1.conv)
        self.norm = self.drop_path = nn.Identity()


class SMPBlock(Bottleneck):
    """Bottleneck around a depthwise :class:`LargeKernelConv` and a ReLU.

    Args:
        channels (int): Channels in and out.
        dw_channels (int): Channels of the large kernel.
        kernel_size (int): Side of the large kernel.
        small_kernel_size (int, optional): Side of its parallel kernel.
        kernel_cfg (dict, optional): Type and arguments of the large kernel.
            Defaults to None: an SMP kernel.
        **kwargs: ``norm_cfg``, ``drop_path`` and ``deploy`` of
            :class:`Bottleneck`.
    """

    def __init__(
        self,
        channels: int,
        dw_channels: int,
        *,
        kernel_size: int,
        small_kernel_size: int | None,
        kernel_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(channels, dw_channels, act_cfg=dict(type='ReLU'), **kwargs)
        self.large_kernel = LargeKernelConv(
            dw_channels,
            dw_channels,
            kernel_size,
            small_kernel_size,
            groups=dw_channels,
            norm_cfg=kwargs['norm_cfg'],
            kernel_cfg=kernel_cfg,
            deploy=kwargs.get('deploy', False),
        )
        self.act = nn.ReLU(inplace=True)

    def between(self, x: Tensor) -> Tensor:
        """The large kernel and its activation."""
        return self.act(self.large_kernel(x))


class ConvFFN(Bottleneck):
    """Feed-forward block: a bottleneck around a GELU.

    mmpretrain's class of the same name has its norms fixed to BN and no deploy
    form.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.act = nn.GELU()

    def between(self, x: Tensor) -> Tensor:
        """The activation."""
        return self.act(x)
