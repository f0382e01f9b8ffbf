"""The models of this package in mmpretrain's hub: ``get_model``, ``list_models``."""

from __future__ import annotations

import warnings
from pathlib import Path

from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain.apis.model import ModelHub

from smpconv_mm.errors import CheckpointError

from .mmengine import index_folder

# families that mmpretrain cannot build; mmdet and mmseg do, by their configs
_OTHERS = ('detection', 'segmentation')
_UNPUBLISHED = 'unpublished:'


def register_model_index() -> None:
    """Put the classifiers of this package into mmpretrain's hub."""
    try:
        folder = index_folder()
    except FileNotFoundError as error:  # the models can be built all the same
        warnings.warn(f'smpconv_mm: {error}', stacklevel=2)
        return
    for metafile in sorted(folder.glob('configs/*/metafile.yml')):
        if metafile.parent.name not in _OTHERS:
            ModelHub.register_model_index(metafile, config_prefix=folder)
    CheckpointLoader.register_scheme(prefixes=_UNPUBLISHED, loader=_refuse, force=True)
    # mmpretrain would only warn, and go on with random weights
    for model in ModelHub._models_dict.values():
        path = Path(model.config) if isinstance(model.config, str) else Path()
        if model.weights is None and folder in path.parents:
            model.weights = _UNPUBLISHED + model.name


def _refuse(filename: str, map_location=None) -> dict:
    name = filename.removeprefix(_UNPUBLISHED)
    raise CheckpointError(
        f'there are no weights of {name} to download (pretrained=True); convert '
        'those of the authors with a tool of tools/model_converters (the README '
        'beside the config says how), or train it, and give the file: '
        'pretrained=PATH'
    )
