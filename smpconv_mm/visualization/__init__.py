"""Figures; the tools are thin shells over these functions."""

from .comparison import draw_kernels_of, draw_learning, draw_tradeoffs
from .curves import draw_curves, read_scalars
from .figures import picture_path, save_figure
from .input_kernels import draw_input_kernels
from .kernel_sizes import draw_kernel_sizes, draw_size_growth
from .kernels import draw_kernels, short_name
from .samples import draw_annotated, draw_confusion, draw_samples
from .trajectories import draw_trajectories

__all__ = [
    'draw_annotated',
    'draw_confusion',
    'draw_curves',
    'draw_kernels_of',
    'draw_learning',
    'draw_tradeoffs',
    'draw_kernel_sizes',
    'draw_input_kernels',
    'draw_kernels',
    'draw_samples',
    'draw_size_growth',
    'draw_trajectories',
    'picture_path',
    'read_scalars',
    'save_figure',
    'short_name',
]
