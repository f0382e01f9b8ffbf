"""Networks built from the layers of this package."""

from smpconv_mm.compat.mmpretrain import register_model_index

from .backbones import (
    CCNN,
    SMPTCN,
    CedNet,
    CIFARResNet,
    DCLSConvNeXt,
    FlexNet,
    FlexTCN,
    OrientedConvNeXt,
    RedNet,
    SMPNet,
    SMPResNet,
    UniRepLKNet,
)
from .classifier import KernelRegularizedClassifier
from .heads import (
    BinaryClsHead,
    RegressionHead,
    StepwiseClsHead,
    involution_mask_head,
    involution_rpn_head,
)
from .losses import AliasingLoss, KernelNormLoss, ParameterNormLoss
from .necks import InvolutionFPN, LastTimeStep

register_model_index()

__all__ = [
    'AliasingLoss',
    'BinaryClsHead',
    'CCNN',
    'CIFARResNet',
    'CedNet',
    'DCLSConvNeXt',
    'FlexNet',
    'FlexTCN',
    'InvolutionFPN',
    'KernelNormLoss',
    'KernelRegularizedClassifier',
    'LastTimeStep',
    'OrientedConvNeXt',
    'ParameterNormLoss',
    'RedNet',
    'RegressionHead',
    'SMPNet',
    'SMPResNet',
    'SMPTCN',
    'StepwiseClsHead',
    'UniRepLKNet',
    'involution_mask_head',
    'involution_rpn_head',
]
