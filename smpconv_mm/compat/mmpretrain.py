"""The models of this package among mmpretrain's: ``get_model``, ``list_models``."""

from __future__ import annotations

import sys
import warnings
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from smpconv_mm.errors import CheckpointError

_HUB = 'mmpretrain.apis.model'
# families that mmpretrain cannot build; mmdet and mmseg do, by their configs
_OTHERS = ('detection', 'segmentation')
_UNPUBLISHED = 'unpublished:'


def index_folder() -> Path:
    """Where ``model-index.yml``, ``configs`` and ``tools`` lie.

    In the package when it is installed, beside it in a checkout.

    Raises:
        FileNotFoundError: If the package was copied without them.
    """
    package = Path(__file__).parents[1]
    for folder in (package / '.mim', package.parent):
        if (folder / 'model-index.yml').is_file():
            return folder
    raise FileNotFoundError(
        f'{package} has no model-index.yml, neither in .mim nor beside it; install '
        'the package with pip'
    )


def register_with_mmpretrain() -> None:
    """Put the classifiers into mmpretrain's hub, now or when it is imported.

    Importing this package shall stay cheap, so that it never imports
    mmpretrain itself.
    """
    if _HUB in sys.modules:
        _register(sys.modules[_HUB])
    elif not any(isinstance(finder, _AfterHub) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterHub())


class _AfterHub:
    """Finds mmpretrain's hub where it is, and registers once it has been run."""

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        if name != _HUB:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            _register(module)

        spec.loader.exec_module = exec_module
        return spec


def _register(hub: ModuleType) -> None:
    from mmengine.runner.checkpoint import CheckpointLoader

    try:
        folder = index_folder()
    except FileNotFoundError as error:  # mmpretrain itself shall be importable
        warnings.warn(f'smpconv_mm: {error}', stacklevel=2)
        return
    for metafile in sorted(folder.glob('configs/*/metafile.yml')):
        if metafile.parent.name not in _OTHERS:
            hub.ModelHub.register_model_index(metafile, config_prefix=folder)
    CheckpointLoader.register_scheme(prefixes=_UNPUBLISHED, loader=_refuse, force=True)
    # mmpretrain would warn only, and go on with random weights
    for model in hub.ModelHub._models_dict.values():
        path = Path(model.config) if isinstance(model.config, str) else Path()
        if model.weights is None and folder in path.parents:
            model.weights = _UNPUBLISHED + model.name


def _refuse(filename: str, map_location=None) -> dict:
    name = filename.removeprefix(_UNPUBLISHED)
    raise CheckpointError(
        f'there are no weights of {name} to download (pretrained=True); convert '
        'those of the authors with tools/model_converters/smpconv_to_mm.py '
        '(configs/smpconv/README.md says where they are), or train it, and give '
        'the file: pretrained=PATH'
    )
