"""Backbones: each returns a tuple of feature maps."""

from .ccnn import CCNN
from .cifar_resnet import CIFARResNet
from .convnext_dcls import DCLSConvNeXt
from .convnext_oriented import OrientedConvNeXt
from .flexnet import FlexNet, FlexTCN
from .rednet import CedNet, RedNet
from .smp_resnet import SMPResNet
from .smp_tcn import SMPTCN
from .smpnet import SMPNet
from .unireplknet import UniRepLKNet

__all__ = [
    'CCNN',
    'CIFARResNet',
    'CedNet',
    'DCLSConvNeXt',
    'FlexNet',
    'FlexTCN',
    'OrientedConvNeXt',
    'RedNet',
    'SMPNet',
    'SMPResNet',
    'SMPTCN',
    'UniRepLKNet',
]
