"""Backbones: each returns a tuple of feature maps."""

from .smp_resnet import SMPResNet
from .smp_tcn import SMPTCN
from .smpnet import SMPNet

__all__ = ['SMPTCN', 'SMPNet', 'SMPResNet']
