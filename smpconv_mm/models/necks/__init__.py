"""Necks that mmpretrain, mmdet and mmseg lack."""

from .involution_fpn import InvolutionFPN
from .last_time_step import LastTimeStep

__all__ = ['InvolutionFPN', 'LastTimeStep']
