"""Heads that mmpretrain lacks."""

from .sequence_heads import RegressionHead, StepwiseClsHead

__all__ = ['RegressionHead', 'StepwiseClsHead']
