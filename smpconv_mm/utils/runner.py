"""From a config file and command-line choices to an MMEngine runner.

One set of functions for classification, detection and segmentation: the
config's ``default_scope`` decides which package its names belong to.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import cv2
import mmengine
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.device import is_cuda_available
from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner, Runner
from mmengine.utils import get_installed_path
from torch import nn

from .amp import hand_on_float32
from .checkpoint import CheckpointError, atomic_path, find_latest
from .env import HOW_TO_INSTALL, lacks_for

_PACKAGE = Path(__file__).parents[1]

# What MMEngine reads from a config besides the arguments of its runner
_OTHER_KEYS = (
    'auto_scale_lr',
    'channels_last',
    'compile',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'strategy',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
)


class UsageError(RuntimeError):
    """The user can mend this; the message says what and how."""


def load_config(path: str, options: dict | None = None) -> Config:
    """Read a config file and apply ``--cfg-options``.

    ``'package::folder/name.py'`` is a config that an installed package brings
    along, e.g. ``'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py'``.

    Raises:
        UsageError: If the file does not exist, needs a package that is not
            installed, or an option names a part that neither the config nor
            MMEngine's runner knows.
    """
    file = _of_package(path) if '::' in path else Path(path)
    if not file.is_file():
        raise UsageError(f'config file {path!r} does not exist')
    try:
        try:
            cfg = Config.fromfile(file)
        except RuntimeError as error:
            if 'lazy_import' not in str(error):
                raise
            # a base that imports something was taken for one of the new style
            cfg = Config.fromfile(file, lazy_import=False)
    except ModuleNotFoundError as error:  # of a base like 'mmdet::_base_/...'
        fault = str(error).split(',')[0]
        raise UsageError(f'{path}: {fault}. {HOW_TO_INSTALL}') from error
    lacking = lacks_for(cfg.get('default_scope', 'mmpretrain'))
    if lacking:
        raise UsageError(f'{path} needs {lacking}. {HOW_TO_INSTALL}')
    known = {*cfg, *inspect.signature(Runner.__init__).parameters, *_OTHER_KEYS}
    for option in options or {}:
        part = option.split('.')[0]
        if part not in known:
            close = difflib.get_close_matches(part, known, n=1)
            hint = f', did you mean {close[0]!r}?' if close else ''
            raise UsageError(
                f'--cfg-options {option}: the config has no part {part!r}{hint}'
            )
    if options:
        cfg.merge_from_dict(options)
    return cfg


def _of_package(name: str) -> Path:
    package, _, path = name.partition('::')
    if find_spec(package) is None:
        raise UsageError(f'{name}: the package {package!r} is not installed')
    return Path(get_installed_path(package), '.mim', 'configs', path)


def set_work_dir(cfg: Config, work_dir: str | None) -> None:
    """The choice of the command line, else of the config, else its file name."""
    stem = Path(cfg.filename).stem
    cfg.work_dir = work_dir or cfg.get('work_dir') or f'work_dirs/{stem}'


def set_amp(cfg: Config, dtype: str) -> None:
    """Train with automatic mixed precision: ``'float16'`` or ``'bfloat16'``.

    Raises:
        UsageError: If float16 is asked for without a GPU.
    """
    optim = cfg.optim_wrapper
    if dtype == 'bfloat16':
        _take_bfloat16(optim)
    elif is_cuda_available():
        optim.type = 'AmpOptimWrapper'
        optim.dtype = dtype
        optim.setdefault('loss_scale', 'dynamic')
    else:
        raise UsageError(
            '--amp needs a GPU for float16, and none is available; take --amp '
            'bfloat16, or leave it out'
        )


def _take_bfloat16(optim_wrapper: ConfigDict) -> None:
    for key in ('loss_scale', 'dtype', 'use_fsdp'):
        optim_wrapper.pop(key, None)
    optim_wrapper.type = 'smpconv_mm.BFloat16OptimWrapper'


def set_resume(cfg: Config, resume: str) -> None:
    """Resume from a checkpoint, or with ``'auto'`` from the work dir's latest.

    Raises:
        UsageError: If the named checkpoint does not exist.
    """
    if resume != 'auto' and not Path(resume).is_file():
        raise UsageError(
            f'--resume: checkpoint {resume!r} does not exist; leave the name out to '
            f'take the latest of {cfg.work_dir}'
        )
    latest = find_latest(cfg.work_dir) if resume == 'auto' else resume
    cfg.resume = latest is not None
    cfg.load_from = str(latest) if latest else None


def set_auto_scale_lr(cfg: Config) -> None:
    """Scale the learning rate with the number of images a step."""
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise UsageError(
            '--auto-scale-lr: the config has no auto_scale_lr.base_batch_size, the '
            'batch that its learning rate was chosen for'
        )
    cfg.auto_scale_lr.enable = True


def drop_validation(cfg: Config) -> None:
    """Train without validation."""
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    checkpoint = cfg.get('default_hooks', {}).get('checkpoint')
    if checkpoint:
        checkpoint.pop('save_best', None)


def set_visualization(
    cfg: Config, show: bool, show_dir: str | None, interval: int, wait_time: float
) -> None:
    """Draw predictions while testing, in a window or into a folder."""
    hooks = cfg.setdefault('default_hooks', ConfigDict())
    if 'visualization' not in hooks:
        raise UsageError(
            '--show and --show-dir need a visualization hook in default_hooks of the '
            "config, e.g. visualization=dict(type='VisualizationHook')"
        )
    hook = hooks.visualization
    # mmpretrain says enable and out_dir; mmdet and mmseg say draw, test_out_dir
    classification = hook.type.rpartition('.')[2] == 'VisualizationHook'
    hook['enable' if classification else 'draw'] = True
    hook.show = show
    hook.wait_time = wait_time
    hook.interval = interval
    if show_dir:
        # mmdet joins a relative folder to itself, once more for every image
        show_dir = str(Path(show_dir).absolute())
        if cfg.get('default_scope') == 'mmseg':  # its hook has no such argument
            cfg.visualizer.save_dir = show_dir
        else:
            hook['out_dir' if classification else 'test_out_dir'] = show_dir


def set_tta(cfg: Config) -> None:
    """Test with test-time augmentation.

    ``tta_model`` and ``tta_pipeline`` of the config say how; a classifier
    without them averages over an image and its mirror image.
    """
    if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
        if cfg.get('default_scope') != 'mmpretrain':
            raise UsageError(
                '--tta needs tta_model and tta_pipeline in the config'
                + ' (mmdet has them for boxes only, not for masks)'
                * (cfg.get('default_scope') == 'mmdet')
            )
        pipeline = deepcopy(cfg.test_dataloader.dataset.pipeline)
        flips = [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)]
        cfg.tta_pipeline = [
            *pipeline[:-1],
            dict(type='TestTimeAug', transforms=[flips, [pipeline[-1]]]),
        ]
        cfg.tta_model = dict(type='mmpretrain.AverageClsScoreTTA')
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline


def _readme(cfg: Config) -> Path:
    beside = Path(cfg.filename).parent / 'README.md'
    return beside if beside.is_file() else Path('configs/smpconv/README.md')


def check_data(cfg: Config, phases: tuple[str, ...]) -> None:
    """Raise early if a data folder that the config names is not there.

    Raises:
        UsageError: Names the folder and the option that sets it.
    """
    for phase in phases:
        dataset = (cfg.get(f'{phase}_dataloader') or {}).get('dataset', {})
        root = dataset.get('data_root')
        if root and '://' not in root and not Path(root).expanduser().is_dir():
            raise UsageError(
                f'data folder {root!r} of {phase}_dataloader does not exist; put or '
                f'link the data there ({_readme(cfg)} shows the layout), or '
                f'pass --cfg-options {phase}_dataloader.dataset.data_root=FOLDER'
            )


def build_runner(cfg: Config, launcher: str = 'none') -> Runner | FlexibleRunner:
    """Build the runner; brings up gloo where there is no GPU.

    MMEngine's launchers assume GPUs. Without one, the process group is made
    here and what MMEngine and torch have for GPUs only is replaced: SyncBN by
    BN, and float16 of a config by float32.

    A config with a ``strategy`` gets MMEngine's FlexibleRunner, any other its
    Runner. With ``channels_last = True`` the model's weights are kept in that
    memory format, which makes GPUs convolve in it.

    Raises:
        UsageError: If the launcher needs GPUs and there are none, a strategy
            needs more processes, or the parts of the model do not fit (see
            :func:`check_channels`).
    """
    cfg.launcher = launcher
    if not is_cuda_available():
        drop_amp(cfg)
        if launcher != 'none':
            _use_gloo(cfg)
    default = 'FlexibleRunner' if cfg.get('strategy') else 'Runner'
    kind = RUNNERS.get(cfg.get('runner_type', default))
    if kind is FlexibleRunner:
        runner = _flexible_runner(cfg)
    else:
        # before the model is wrapped: its wrapper notes the format of weights
        class Prepared(kind):
            def build_model(self, model: nn.Module | dict) -> nn.Module:
                return _prepared(super().build_model(model), cfg)

        runner = Prepared.from_cfg(cfg)
    check_channels(runner.model)
    return runner


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
    from smpconv_mm.engine.flexible_runner import FlexibleRunner

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
    runner = FlexibleRunner.from_cfg(cfg)
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

    Looks at backbones that tell their ``channels`` and ``out_indices``, as those
    of this package, and at necks and heads of mmdet and mmseg.

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


def drop_amp(cfg: Config) -> None:
    """Without a GPU: float32 in place of float16, which CPUs are slow in."""
    optim = cfg.get('optim_wrapper') or {}
    if optim.get('type') != 'AmpOptimWrapper':
        return
    if optim.get('dtype') == 'bfloat16':
        _take_bfloat16(optim)
        return
    for key in ('loss_scale', 'dtype', 'use_fsdp'):
        optim.pop(key, None)
    optim.type = 'OptimWrapper'
    MMLogger.get_current_instance().warning(
        'no GPU: trains in float32 instead of mixed precision; --amp bfloat16 '
        'works on CPUs'
    )


def write_metrics(metrics: dict, path: str) -> None:
    """Write metrics as .json, .yaml or .pkl; one process does it."""
    if is_main_process():
        with atomic_path(path) as temporary:
            mmengine.dump(metrics, str(temporary))


def leave_group() -> None:
    """End a distributed run in order; its threads would outlive the interpreter."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


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


# what libraries raise for mistakes of the user
_TOLD = (AssertionError, OSError, TypeError, ValueError, KeyError, cv2.error)


@contextmanager
def plain_errors() -> Iterator[None]:
    """End a tool with one line, not a traceback, where the user can mend it.

    ``SMPCONV_MM_TRACEBACK=1`` shows the traceback all the same.
    """
    try:
        yield
    except (UsageError, CheckpointError) as error:
        message = str(error)
        cause = error
    except _TOLD as error:
        message = _in_plain_words(error)
        if message is None:
            raise
        cause = error
    else:
        return
    if os.environ.get('SMPCONV_MM_TRACEBACK') == '1':
        raise cause
    raise SystemExit(f'error: {message}') from None


def _in_plain_words(error: Exception) -> str | None:
    """Say what a library's error means, if it is one that the user can mend."""
    text = str(error).strip()
    if 'failed to load image' in text:  # mmcv, through a loader's worker or not
        image = text.splitlines()[-1].split(': ', 1)[-1]
        return f'{image}: the file is not an image or is damaged; mend or remove it'
    if isinstance(error, FileNotFoundError) and error.filename:
        return f'{error.filename} does not exist'
    unknown = re.search(r"(\w+)\.__init__\(\) got an unexpected .* '(\w+)'", text)
    if unknown:
        owner, key = unknown.groups()
        return f'config: {owner} has no argument {key!r}; correct or remove that key'
    if isinstance(error, KeyError) and ' is not in the ' in text:
        return f'config: {text.strip(chr(34))}'
    if isinstance(error, cv2.error) and '!buf.empty()' in text:
        return 'an image file is empty (0 bytes); "find DATA_FOLDER -empty" names it'
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in frames:
        if frame.f_code.co_name == '_serialize_data' and 'concatenate' in text:
            return _empty_dataset(frame.f_locals['self'])
    innermost = frames[-1]
    if Path(innermost.f_code.co_filename).is_relative_to(_PACKAGE):
        return text  # ours, written for the user
    return None


def _empty_dataset(dataset: BaseDataset) -> str:
    source = dataset.ann_file or dataset.data_prefix
    classes = list(dataset.metainfo.get('classes') or [])
    more = f', ... ({len(classes)} classes)' * (len(classes) > 3)
    return (
        f'{source}: the data set has no sample to use; it lists no image, or none '
        f'with an object of the classes {", ".join(map(str, classes[:3]))}{more}, or '
        f'its filter_cfg={dataset.filter_cfg} drops all; correct the file, '
        'metainfo.classes or filter_cfg of the data set'
    )
