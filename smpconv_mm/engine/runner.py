"""Build what a config describes: its model, its datasets, an MMEngine runner."""

from __future__ import annotations

import colorsys
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import mmengine
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.device import is_cuda_available
from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from mmengine.model import BaseModule, BaseTTAModel, is_model_wrapper
from mmengine.registry import (
    DATASETS,
    MODELS,
    RUNNERS,
    VISUALIZERS,
    DefaultScope,
)
from mmengine.runner import BaseLoop, Runner
from mmengine.runner import FlexibleRunner as _FlexibleRunner
from mmengine.visualization import Visualizer
from torch import nn

from smpconv_mm.checkpoint import (
    atomic_path,
    check_fits,
    in_deploy_form,
    load,
    state_dict_of,
)
from smpconv_mm.compat.mmdet import hand_on_float32
from smpconv_mm.compat.mmengine import FlexibleRunner
from smpconv_mm.compat.noise import shorten_console
from smpconv_mm.errors import UsageError
from smpconv_mm.layers import switch_to_deploy

from .config import check_data, drop_amp
from .data_checks import check_loop


def build_model(
    cfg: Config, checkpoint: str | Path | None = None, part: str | None = None
) -> nn.Module:
    """Build a classifier, detector or segmenter, with the weights of a checkpoint.

    Without a checkpoint the weights are what the constructors made them;
    :func:`initialise` gives those that a training starts from.

    Args:
        cfg (Config): Its config.
        checkpoint (str | Path, optional): Checkpoint of what is built, in training
            or in deploy form, into which the model is brought then.
        part (str, optional): Build this part of the model only, e.g.
            ``'backbone'``.

    Raises:
        CheckpointError: If the checkpoint cannot be read or does not fit.
    """
    described = cfg.model[part] if part else cfg.model
    if 'backbone' in described and 'data_preprocessor' in cfg:  # as a runner does
        described = ConfigDict(described)
        described.setdefault('data_preprocessor', cfg.data_preprocessor)
    with scope_of(cfg):
        model = MODELS.build(described)
    if checkpoint:
        load_weights(model, checkpoint)
    return model


def load_weights(model: nn.Module, path: str | Path) -> dict:
    """Load a checkpoint into a model, which takes its form, training or deploy.

    Returns:
        dict: The checkpoint.

    Raises:
        CheckpointError: If it cannot be read or does not fit.
    """
    checkpoint = load(path)
    state_dict = state_dict_of(checkpoint)
    if in_deploy_form(checkpoint):
        switch_to_deploy(model)
    check_fits(model, state_dict, path)
    model.load_state_dict(state_dict)
    return checkpoint


def build_dataset(cfg: Config, phase: str) -> BaseDataset:
    """Build the dataset of a phase.

    Args:
        cfg (Config): Config of a model with data.
        phase (str): ``'train'``, ``'val'`` or ``'test'``.

    Raises:
        UsageError: If its data folder does not exist.
    """
    check_data(cfg, (phase,))
    with scope_of(cfg):
        return DATASETS.build(cfg[f'{phase}_dataloader'].dataset)


def build_visualizer(cfg: Config, classes: Sequence[str] | None) -> Visualizer:
    """Build the visualizer of a config's package, without places to write to.

    Args:
        cfg (Config): Config of a classifier, detector or segmenter.
        classes (Sequence[str], optional): Names of the classes.
    """
    kinds = dict(mmdet='mmdet.DetLocalVisualizer', mmseg='mmseg.SegLocalVisualizer')
    kind = kinds.get(cfg.get('default_scope'), 'mmpretrain.UniversalVisualizer')
    visualizer = VISUALIZERS.build(dict(type=kind, name='pictures'))
    palette = _metainfo(cfg).get('palette')
    if palette is None or classes is None or len(palette) < len(classes):
        palette = [colorsys.hsv_to_rgb(i * 0.618 % 1, 0.8, 1) for i in range(256)]
        palette = [tuple(round(255 * c) for c in colour) for colour in palette]
    visualizer.alpha = 0.5  # of segments; the image is seen below them
    visualizer.dataset_meta = dict(classes=classes, palette=palette)
    return visualizer


def classes_of(cfg: Config, checkpoint: str | Path) -> list[str] | None:
    """Names of the classes: of the checkpoint, else of the config's test dataset."""
    meta = (load(checkpoint).get('meta') or {}).get('dataset_meta') or {}
    classes = meta.get('classes') or _metainfo(cfg).get('classes')
    return None if classes is None else list(classes)


def _metainfo(cfg: Config) -> dict:
    """What is known of the test dataset without its data."""
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    while 'dataset' in dataset:  # a wrapper
        dataset = dataset['dataset']
    with scope_of(cfg), DATASETS.switch_scope_and_registry(None) as registry:
        kind = registry.get(dataset['type']) if 'type' in dataset else None
    known = {key.lower(): value for key, value in getattr(kind, 'METAINFO', {}).items()}
    return {**known, **(dataset.get('metainfo') or {})}


def scope_of(cfg: Config) -> AbstractContextManager:
    """Names of a config mean the package of its ``default_scope`` meanwhile."""
    scope = cfg.get('default_scope', 'mmpretrain')
    return DefaultScope.overwrite_default_scope(scope)


def initialise(network: BaseModule) -> None:
    """Initialise weights as a training does, without a log line per parameter.

    Raises:
        CheckpointError: If ``init_cfg`` names a checkpoint that cannot be read.
    """
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        network.init_weights()
    finally:
        logger.setLevel(level)


def build_runner(cfg: Config, launcher: str = 'none') -> Runner | FlexibleRunner:
    """Build the runner; without a GPU its processes talk through gloo.

    MMEngine's launchers assume GPUs. Without one, the process group is made
    here and what MMEngine and torch have for GPUs only is replaced: SyncBN by
    BN, and float16 of a config by float32.

    A config with a ``strategy`` gets MMEngine's FlexibleRunner, any other its
    Runner. With ``channels_last = True`` the model's weights are kept in that
    memory format, which makes GPUs convolve in it.

    Raises:
        UsageError: If the launcher did not start this process, or needs GPUs and
            there are none, a strategy needs more processes, or the parts of the model
            do not fit (see :func:`check_channels`).
    """
    cfg.launcher = launcher
    _check_launcher(launcher)
    if not is_cuda_available():
        drop_amp(cfg)
        for phase in ('train', 'val', 'test'):  # torch would warn in every epoch
            (cfg.get(f'{phase}_dataloader') or {}).pop('pin_memory', None)
        if launcher != 'none':
            _use_gloo(cfg)
    default = 'FlexibleRunner' if cfg.get('strategy') else 'Runner'
    kind = RUNNERS.get(cfg.get('runner_type', default))
    if kind is _FlexibleRunner:
        runner = _flexible_runner(cfg)
    else:
        # before the model is wrapped: the wrapper records the memory format of weights
        class Prepared(_Checked, kind):
            def build_model(self, model: nn.Module | dict) -> nn.Module:
                return _prepared(super().build_model(model), cfg)

        runner = Prepared.from_cfg(cfg)
    check_channels(runner.model)
    return runner


# what each launcher tells the processes that it starts
_TOLD = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')


def _check_launcher(launcher: str) -> None:
    variable = _TOLD.get(launcher)
    if variable and variable not in os.environ:
        raise UsageError(
            f'--launcher {launcher}: {variable} is not set, so this process was not '
            'started by the launcher; use "bash tools/dist_train.sh CONFIG GPUS" or '
            'tools/slurm_train.sh, or leave --launcher out'
        )


class _Checked:
    """Runner that looks at its data before it runs, and says no more than needed."""

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        shorten_console(logger)
        logger.info(f'config, environment and hooks are logged in {self._log_dir}')
        return logger

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        loop = super().build_train_loop(loop)
        check_loop(self, loop, 'train')
        return loop

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        loop = super().build_val_loop(loop)
        check_loop(self, loop, 'val')
        return loop

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        loop = super().build_test_loop(loop)
        check_loop(self, loop, 'test')
        return loop


class _CheckedFlexible(_Checked, FlexibleRunner):
    pass


def _use_gloo(cfg: Config) -> None:
    if cfg.launcher != 'pytorch':
        raise UsageError(f'--launcher {cfg.launcher} needs GPUs; use pytorch')
    if not torch.distributed.is_initialized():
        seconds = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout', 600)
        timeout = timedelta(seconds=seconds)
        torch.distributed.init_process_group('gloo', timeout=timeout)
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    if _replace_type(cfg.model, 'SyncBN', 'BN'):
        MMLogger.get_current_instance().warning(
            'no GPU: SyncBN was replaced by BN, each process has its own statistics'
        )


def _flexible_runner(cfg: Config) -> FlexibleRunner:
    strategy = cfg.get('strategy') or {}
    if str(strategy.get('type')).endswith('FSDPStrategy'):
        if cfg.launcher == 'none':
            raise UsageError(
                f'strategy {strategy.type} shards the model over several processes; '
                'start them with "bash tools/dist_train.sh CONFIG GPUS", or pass '
                '--cfg-options strategy=None'
            )
        if 'EMAHook' in [hook.type for hook in cfg.get('custom_hooks') or []]:
            raise UsageError(
                'custom_hooks: EMAHook copies the whole model, of which a process '
                'has a shard only; leave it out with --cfg-options "custom_hooks=[]"'
            )
    runner = _CheckedFlexible.from_cfg(cfg)
    runner.model = _prepared(runner.strategy.build_model(runner.model), cfg)
    return runner


def _prepared(model: nn.Module, cfg: Config) -> nn.Module:
    if cfg.get('default_scope') == 'mmdet':
        hand_on_float32(model)
    if cfg.get('channels_last'):
        model.to(memory_format=torch.channels_last)
    return model


def check_channels(model: nn.Module) -> None:
    """Compare the maps of a backbone with what the parts after it expect.

    Checks backbones with the attributes ``channels`` and ``out_indices``, such as
    those of this package, and necks and heads of mmdet and mmseg.

    Raises:
        UsageError: Names the part, its channels and those of the backbone.
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    backbone = getattr(model, 'backbone', None)
    if not hasattr(backbone, 'channels') or not hasattr(backbone, 'out_indices'):
        return
    maps = [backbone.channels[i] for i in backbone.out_indices]
    names = ['neck']
    if getattr(model, 'neck', None) is None:
        names = ['decode_head', 'auxiliary_head']
    for name in names:
        part = getattr(model, name, None)
        wanted = getattr(part, 'in_channels', None)
        if wanted is None:
            continue
        index = getattr(part, 'in_index', range(len(maps)))
        chosen = [
            maps[i]
            for i in ([index] if isinstance(index, int) else index)
            if -len(maps) <= i < len(maps)
        ]
        if (sum(chosen) if isinstance(wanted, int) else chosen) != wanted:
            raise UsageError(
                f'config: model.{name} takes in_channels={wanted}, but '
                f'{type(backbone).__name__} with out_indices={backbone.out_indices} '
                f'gives maps of {maps} channels; correct one of the two'
            )


def _replace_type(node, old: str, new: str) -> bool:
    found = False
    if isinstance(node, dict):
        if node.get('type') == old:
            node['type'] = new
            found = True
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            found |= _replace_type(child, old, new)
    return found


def write_metrics(metrics: dict, path: str) -> None:
    """Write metrics as .json, .yaml or .pkl, on the first process."""
    if is_main_process():
        with atomic_path(path) as temporary:
            mmengine.dump(metrics, str(temporary))


def leave_group() -> None:
    """End a distributed run; its threads would outlive the interpreter."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
