"""Continuous- and large-kernel backbones for OpenMMLab.

Importing this package needs torch alone. Where MMEngine is installed the
package's registries are made known to it, and its checkpoints become loadable
with ``weights_only=True``; and where timm is, its classifiers are known to
``timm.create_model``.
"""

import warnings
from importlib.util import find_spec

from .version import __version__


def _register_in_timm() -> None:
    from .apis.timm_models import register

    register()


if find_spec('mmengine') is not None:
    try:
        from . import compat, registry  # noqa: F401

        compat.set_up()
        compat.after_import('timm', _register_in_timm)
    except ImportError as error:
        warnings.warn(
            f'smpconv_mm: MMEngine is installed but cannot be imported ({error}); '
            'operations work, layers and models do not. Run "bash tools/install.sh"',
            stacklevel=2,
        )

__all__ = ['__version__', 'accelerate']


def __getattr__(name: str):
    if name == 'accelerate':  # imports layers, and so MMEngine
        from .layers import accelerate

        return accelerate
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
