"""Pure functions on tensors; needs torch alone.

``python -m smpconv_mm.ops`` prints the backends of every operation.
"""

from . import reference
from .depthwise_conv import depthwise_conv2d
from .dispatch import backends, explain, operations, use_backend
from .involution import involution
from .long_conv import causal_conv1d, conv2d
from .oriented_conv import oriented_conv2d
from .smp_kernel import smp_kernel

__all__ = [
    'backends',
    'causal_conv1d',
    'conv2d',
    'depthwise_conv2d',
    'explain',
    'involution',
    'operations',
    'oriented_conv2d',
    'reference',
    'smp_kernel',
    'use_backend',
]
