"""MMEngine 0.10: it cannot resume with torch 2.6 or newer, nor with a strategy.

The OneDL fork resumes as it is. What is here for strategies goes when MMEngine's
FlexibleRunner knows ``compile`` and counts epochs as its Runner does.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import MMLogger
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.model.weight_init import PretrainedInit as _PretrainedInit
from mmengine.model.weight_init import update_init_info
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import FlexibleRunner as _FlexibleRunner
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from smpconv_mm.checkpoint import (
    atomic_path,
    check_part,
    load,
    mismatched,
    missing,
    state_dict_of,
)
from smpconv_mm.errors import CheckpointError

# types that pickle some of their own functions as a call of getattr, and which
_OWN_FUNCTIONS = {
    HistoryBuffer: ('min', 'max', 'mean', 'current'),
    OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
}


def _own_function(owner: type, name: str) -> object:
    """Called instead of ``getattr`` when a checkpoint of MMEngine is read.

    To allow ``getattr`` itself would open every attribute of every allowed type.
    """
    if name in _OWN_FUNCTIONS.get(owner, ()):
        return getattr(owner, name)
    raise pickle.UnpicklingError(f'Unsupported global: GLOBAL getattr {owner} {name}')


def _allow(function: Callable, module: str, name: str) -> None:
    """Let checkpoints call ``function`` by this name."""
    if torch.__version__ >= '2.7':
        torch.serialization.add_safe_globals([(function, f'{module}.{name}')])
        return
    # older ones know a function by its own name only
    function.__module__, function.__qualname__ = module, name
    torch.serialization.add_safe_globals([function])


class _AtomicBackend(LocalBackend):
    """Writes files by :func:`smpconv_mm.checkpoint.atomic_path`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        with atomic_path(filepath) as temporary:
            temporary.write_bytes(obj)


def read_and_write_safely() -> None:
    """Make MMEngine read and write checkpoints as :mod:`smpconv_mm.checkpoint` does.

    * The types in MMEngine's own checkpoints (history buffers, NumPy scalars)
      are allowed under ``weights_only=True``.
    * Local files are read by :func:`smpconv_mm.checkpoint.load`, so that a bad
      one gives one clear error wherever MMEngine loads it.
    * The file backend ``'atomic'`` (``backend_args=dict(backend='atomic')`` of
      the CheckpointHook) never leaves a half-written file.
    """
    multiarray = np._core.multiarray if hasattr(np, '_core') else np.core.multiarray
    torch.serialization.add_safe_globals(
        [
            *_OWN_FUNCTIONS,
            np.ndarray,
            np.dtype,
            multiarray._reconstruct,
            multiarray.scalar,
            *(type(np.dtype(kind)) for kind in ('f4', 'f8', 'i4', 'i8', 'b1')),
        ]
    )
    _allow(_own_function, 'builtins', 'getattr')
    register_backend('atomic', _AtomicBackend, force=True)
    CheckpointLoader.register_scheme(
        prefixes='',
        loader=lambda filename, map_location: load(filename, map_location or 'cpu'),
        force=True,
    )


@WEIGHT_INITIALIZERS.register_module(name='Pretrained', force=True)
class PretrainedInit(_PretrainedInit):
    """What ``init_cfg=dict(type='Pretrained', checkpoint=...)`` does.

    MMEngine's logs a line for each entry that does not fit and trains on.

    Args:
        checkpoint (str): File or URL.
        prefix (str, optional): Of the entries to be taken, e.g. ``'backbone.'``.
            Defaults to None.
        map_location (str): Defaults to ``'cpu'``.
        ignore_mismatched_sizes (bool): Leave out entries of another shape.
            Defaults to False.

    Raises:
        CheckpointError: See :func:`smpconv_mm.checkpoint.check_part`.
    """

    def __init__(
        self,
        checkpoint: str,
        prefix: str | None = None,
        map_location: str = 'cpu',
        ignore_mismatched_sizes: bool = False,
    ) -> None:
        super().__init__(checkpoint, prefix, map_location)
        self.ignore_mismatched_sizes = ignore_mismatched_sizes

    def __call__(self, module: nn.Module) -> None:
        """Load into a module."""
        path = self.checkpoint
        loaded = CheckpointLoader.load_checkpoint(path, self.map_location)
        state_dict = state_dict_of(loaded)
        if self.prefix:
            prefix = self.prefix.rstrip('.') + '.'
            names = list(state_dict)
            state_dict = {
                key.removeprefix(prefix): value
                for key, value in state_dict.items()
                if key.startswith(prefix)
            }
            if not state_dict:
                raise CheckpointError(
                    f'checkpoint {path} has no entry that begins with init_cfg.prefix='
                    f'{self.prefix!r}; its first names are {names[:3]}'
                )
        same = None if self.ignore_mismatched_sizes else ''
        check_part(module, state_dict, path, 'init_cfg', same)
        for key in mismatched(module, state_dict):
            del state_dict[key]
        logger = MMLogger.get_current_instance()
        logger.info(f'{len(state_dict)} entries of {path} to start from')
        rest = missing(module, state_dict)
        if rest:
            logger.warning(
                f'{path} does not have {len(rest)} entries of {type(module).__name__}, '
                f'which keep their first values: {", ".join(rest[:3])}'
                + ', ...'
                * (len(rest) > 3)
            )
        module.load_state_dict(state_dict, strict=False)
        if hasattr(module, '_params_init_info'):  # for the log of init_weights()
            update_init_info(module, init_info=self._get_init_info())


def format_configs_once() -> None:
    """Keep the text of a config, which MMEngine formats for every checkpoint.

    That takes a third of a second and more each time.
    """
    module = sys.modules[Config.__module__]
    format_code = module.FormatCode
    formatted: dict[str, tuple] = {}

    def format_once(text: str, **style) -> tuple:
        if text not in formatted:
            formatted.clear()
            formatted[text] = format_code(text, **style)
        return formatted[text]

    module.FormatCode = format_once


def find_configs_by_path() -> None:
    """Let ``_base_ = 'smpconv_mm::folder/config.py'`` work in everybody's configs.

    MMEngine has a fixed list of packages whose configs can be named so. Names in
    our configs say their scope where it is not the default one, so none is added.
    For a config of another package it reads all metafiles of that package before
    it looks whether the file is there, which takes half a second a name.
    """
    find = Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        package, _, path = cfg_path.partition('::')
        if package == 'smpconv_mm' and path:
            return str(own_config(path)), None
        spec = find_spec(package) if path and package.isidentifier() else None
        for folder in (spec and spec.submodule_search_locations) or ():
            config = Path(folder, '.mim', 'configs', path)
            if config.is_file():
                return str(config), package
        return find(cfg_path, filename)

    Config._get_cfg_path = staticmethod(get_cfg_path)


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


def own_config(path: str) -> Path:
    """File of a config of this package, e.g. ``'smpconv/smpnet-tiny_4xb256_in1k.py'``.

    An installed package has its configs in ``.mim``, a checkout beside the package.
    """
    package = Path(__file__).parents[1]
    installed = package / '.mim' / 'configs' / path
    return installed if installed.is_file() else package.parent / 'configs' / path


class FlexibleRunner(_FlexibleRunner):
    """Runner of a config with a ``strategy``.

    MMEngine 0.10's forgets ``compile`` of the config, and counts an epoch too
    many in a checkpoint that is written again because it was the best so far,
    from which a resumed run then skips an epoch.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> FlexibleRunner:
        """Build from a config."""
        runner = super().from_cfg(cfg)
        runner._compile = cfg.get('compile', False)
        return runner

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        """Save a checkpoint; the strategy writes it.

        Args:
            out_dir (str): Folder.
            filename (str): Name in the folder.
            file_client_args (dict, optional): Not used.
            save_optimizer (bool): Defaults to True.
            save_param_scheduler (bool): Defaults to True.
            meta (dict, optional): Epoch and iteration that have ended, if they
                are not the current ones. Defaults to None.
            by_epoch (bool): Whether an epoch has ended, else an iteration.
                Defaults to True.
            backend_args (dict, optional): Not used; strategies write files.
        """
        self.strategy.save_checkpoint(
            filename=str(Path(out_dir, filename)),
            save_optimizer=save_optimizer,
            save_param_scheduler=save_param_scheduler,
            extra_ckpt=dict(
                meta=dict(
                    epoch=self.epoch + by_epoch,
                    iter=self.iter + (not by_epoch),
                    cfg=self.cfg.pretty_text,
                    experiment_name=self.experiment_name,
                    dataset_meta=getattr(
                        self.train_dataloader.dataset, 'metainfo', None
                    ),
                )
                | (meta or {}),
                message_hub=self.message_hub.state_dict(),
            ),
            callback=lambda checkpoint: self.call_hook(
                'before_save_checkpoint', checkpoint=checkpoint
            ),
        )
