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
from .heads import involution_mask_head, involution_rpn_head
from .necks import InvolutionFPN, LastTimeStep

register_model_index()

__all__ = [
    'SMPTCN',
    'CedNet',
    'DCLSConvNeXt',
    'InvolutionFPN',
    'LastTimeStep',
    'OrientedConvNeXt',
    'RedNet',
    'SMPNet',
    'SMPResNet',
    'involution_mask_head',
    'involution_rpn_head',
]
