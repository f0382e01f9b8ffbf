"""Backbones: each returns a tuple of feature maps."""

from .rednet import CedNet, RedNet
from .smp_resnet import SMPResNet
from .smp_tcn import SMPTCN
from .smpnet import SMPNet

__all__ = ['CedNet', 'RedNet', 'SMPTCN', 'SMPNet', 'SMPResNet']
