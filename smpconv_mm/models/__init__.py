"""Networks built from the layers of this package."""

from .backbones import SMPTCN, SMPNet, SMPResNet
from .necks import LastTimeStep

__all__ = ['SMPTCN', 'LastTimeStep', 'SMPNet', 'SMPResNet']
