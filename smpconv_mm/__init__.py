"""Continuous- and large-kernel backbones for OpenMMLab.

Importing this package needs torch alone. Where MMEngine is installed the
package's registries are made known to it, and its checkpoints become loadable
with ``weights_only=True``.
"""

from importlib.util import find_spec

from .version import __version__

if find_spec('mmengine') is not None:
    from . import registry  # noqa: F401

__all__ = ['__version__']
