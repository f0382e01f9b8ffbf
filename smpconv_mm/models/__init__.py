"""Networks built from the layers of this package."""

from smpconv_mm.compat.mmpretrain import register_model_index

from .backbones import (
    SMPTCN,
    CedNet,
    DCLSConvNeXt,
    OrientedConvNeXt,
    RedNet,
    SMPNet,
    SMPResNet,
)
from .necks import LastTimeStep

register_model_index()

__all__ = [
    'SMPTCN',
    'CedNet',
    'DCLSConvNeXt',
    'LastTimeStep',
    'OrientedConvNeXt',
    'RedNet',
    'SMPNet',
    'SMPResNet',
]
