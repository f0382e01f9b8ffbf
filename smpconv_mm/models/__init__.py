"""Networks built from the layers of this package."""

from smpconv_mm.compat.mmpretrain import register_model_index

from .backbones import (
    SMPTCN,
    CedNet,
    FlexNet,
    FlexTCN,
    OrientedConvNeXt,
    RedNet,
    SMPNet,
    SMPResNet,
)
from .classifier import KernelRegularizedClassifier
from .heads import RegressionHead, StepwiseClsHead
from .losses import AliasingLoss, KernelNormLoss
from .necks import LastTimeStep

register_model_index()

__all__ = [
    'AliasingLoss',
    'SMPTCN',
    'CedNet',
    'FlexNet',
    'FlexTCN',
    'KernelNormLoss',
    'KernelRegularizedClassifier',
    'LastTimeStep',
    'OrientedConvNeXt',
    'RedNet',
    'RegressionHead',
    'SMPNet',
    'SMPResNet',
    'StepwiseClsHead',
]
