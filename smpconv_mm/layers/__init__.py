"""Layers that make their convolution kernels, and the switch to deploy form."""

from .causal_conv import CausalConv1d
from .ccnn_kernel import CCNNKernel
from .dcls_kernel import DCLSConv1d, DCLSConv2d, DCLSConv3d, DCLSKernel
from .dense_kernel import DenseKernel
from .depthwise_conv import DepthwiseConv2d, accelerate
from .dilated_reparam import DilatedReparamConv2d
from .filter_nets import CCNNMAGNet, FourierNet, GaborNet, MAGNet
from .flex_kernel import (
    CKConv1d,
    CKConv2d,
    CKConv3d,
    CKKernel,
    FlexConv1d,
    FlexConv2d,
    FlexConv3d,
    FlexKernel,
)
from .involution import CVolution2d, CVolutionConv2d, Involution2d, InvolutionConv2d
from .keeping import keep_kernels
from .kernel import Kernel
from .kernel_conv import KernelConv, KernelConv1d, KernelConv2d, KernelConv3d
from .kernel_nets import MLP, NSIREN, SIREN, KernelNet
from .njet_kernel import NJetKernel
from .oriented_kernel import OrientedConv2d, OrientedKernel, line_angles
from .pruning import PrunedLayer, point_effects, points_outside, prune_points
from .reparam import switch_to_deploy
from .resampling import resample
from .separable_conv import SeparableConv
from .smp_kernel import SMPConv1d, SMPConv2d, SMPConv3d, SMPKernel

__all__ = [
    'CCNNKernel',
    'CCNNMAGNet',
    'CKConv1d',
    'CKConv2d',
    'CKConv3d',
    'CKKernel',
    'CVolution2d',
    'CVolutionConv2d',
    'CausalConv1d',
    'DCLSConv1d',
    'DCLSConv2d',
    'DCLSConv3d',
    'DCLSKernel',
    'DenseKernel',
    'DepthwiseConv2d',
    'DilatedReparamConv2d',
    'FlexConv1d',
    'FlexConv2d',
    'FlexConv3d',
    'FlexKernel',
    'FourierNet',
    'GaborNet',
    'Involution2d',
    'InvolutionConv2d',
    'Kernel',
    'KernelConv',
    'KernelConv1d',
    'KernelConv2d',
    'KernelConv3d',
    'KernelNet',
    'MAGNet',
    'MLP',
    'NJetKernel',
    'NSIREN',
    'OrientedConv2d',
    'OrientedKernel',
    'PrunedLayer',
    'SIREN',
    'SMPConv1d',
    'SMPConv2d',
    'SMPConv3d',
    'SMPKernel',
    'SeparableConv',
    'accelerate',
    'keep_kernels',
    'line_angles',
    'point_effects',
    'points_outside',
    'prune_points',
    'resample',
    'switch_to_deploy',
]
