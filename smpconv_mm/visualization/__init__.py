"""Figures; the tools are thin shells over these functions."""

from .curves import draw_curves, read_scalars
from .figures import save_figure
from .kernels import draw_kernels
from .samples import draw_confusion, draw_samples

__all__ = [
    'draw_confusion',
    'draw_curves',
    'draw_kernels',
    'draw_samples',
    'read_scalars',
    'save_figure',
]
