"""Layers that make their convolution kernels, and the switch to deploy form."""

from .causal_conv import CausalConv1d
from .depthwise_conv import DepthwiseConv2d
from .pruning import PrunedLayer, point_effects, points_outside, prune_points
from .reparam import switch_to_deploy
from .smp_conv import SMPConv1d, SMPConv2d, SMPConv3d
from .smp_kernel import SMPKernel

__all__ = [
    'CausalConv1d',
    'DepthwiseConv2d',
    'PrunedLayer',
    'SMPConv1d',
    'SMPConv2d',
    'SMPConv3d',
    'SMPKernel',
    'point_effects',
    'points_outside',
    'prune_points',
    'switch_to_deploy',
]
