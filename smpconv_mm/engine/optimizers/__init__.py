"""Optimisers: their constructors and wrappers."""

from .bfloat16 import BFloat16OptimWrapper
from .layer_decay import LayerDecayOptimWrapperConstructor

__all__ = ['BFloat16OptimWrapper', 'LayerDecayOptimWrapperConstructor']
