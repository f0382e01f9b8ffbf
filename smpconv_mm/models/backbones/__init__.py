"""Backbones: each returns a tuple of feature maps."""

from .smpnet import SMPNet

__all__ = ['SMPNet']
