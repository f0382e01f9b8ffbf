"""Layers that make their convolution kernels, and the switch to deploy form."""

from .reparam import switch_to_deploy
from .smp_conv import SMPConv1d, SMPConv2d, SMPConv3d
from .smp_kernel import SMPKernel

__all__ = ['SMPConv1d', 'SMPConv2d', 'SMPConv3d', 'SMPKernel', 'switch_to_deploy']
