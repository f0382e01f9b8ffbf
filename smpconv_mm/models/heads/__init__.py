"""Heads that mmpretrain and mmdet lack.

Those of detectors extend mmdet's classes. What is registered are functions that import
mmdet when they are called, so that classification neither needs it nor waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smpconv_mm.registry import MODELS

from .sequence_heads import BinaryClsHead, RegressionHead, StepwiseClsHead

if TYPE_CHECKING:
    from .involution import InvolutionMaskHead, InvolutionRPNHead


@MODELS.register_module(name='InvolutionRPNHead')
def involution_rpn_head(*args, **kwargs) -> InvolutionRPNHead:
    """Build :class:`~smpconv_mm.models.heads.involution.InvolutionRPNHead`."""
    from .involution import InvolutionRPNHead

    return InvolutionRPNHead(*args, **kwargs)


@MODELS.register_module(name='InvolutionMaskHead')
def involution_mask_head(*args, **kwargs) -> InvolutionMaskHead:
    """Build :class:`~smpconv_mm.models.heads.involution.InvolutionMaskHead`."""
    from .involution import InvolutionMaskHead

    return InvolutionMaskHead(*args, **kwargs)


__all__ = [
    'BinaryClsHead',
    'RegressionHead',
    'StepwiseClsHead',
    'involution_mask_head',
    'involution_rpn_head',
]
