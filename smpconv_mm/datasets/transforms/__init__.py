"""Transforms of data pipelines."""

from .sequence import ImageToSequence, RowsToSequence, pixel_permutation

__all__ = ['ImageToSequence', 'RowsToSequence', 'pixel_permutation']
