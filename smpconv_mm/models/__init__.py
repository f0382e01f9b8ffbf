"""Networks built from the layers of this package."""

from .backbones import SMPNet

__all__ = ['SMPNet']
