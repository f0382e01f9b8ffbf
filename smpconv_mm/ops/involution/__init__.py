"""Convolution with a kernel of its own at every place: involution and its relatives.

``operator.py`` holds the public function and all that is written once: checks,
autocast, derivatives of any order, shapes for ``torch.compile``, operation counts.
Every other file is a backend, named after it; ``maps.py`` serves those in plain torch.
"""

from __future__ import annotations

from ..dispatch import register_backend
from .cuda import Cuda
from .cupy import CuPy
from .operator import BACKENDS, involution
from .shift import Shift
from .unfold import Unfold

for _backend in (Cuda(), CuPy(), Shift(), Unfold()):
    BACKENDS[_backend.name] = _backend
    register_backend(
        'involution',
        _backend.name,
        _backend.unsupported,
        _backend.needs,
        _backend.slower,
    )(_backend.run)

__all__ = ['involution']
