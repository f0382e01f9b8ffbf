"""Load a config and apply the choices of the command line.

One set of functions for classification, detection and segmentation: the
config's ``default_scope`` decides which package its names belong to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.device import is_cuda_available
from mmengine.logging import MMLogger
from mmengine.utils import get_installed_path

from smpconv_mm.checkpoint import find_latest
from smpconv_mm.compat.mmengine import own_config
from smpconv_mm.compat.stack import HOW_TO_INSTALL, lacks_for
from smpconv_mm.errors import UsageError

from .config_checks import check_options, check_parts


def parse_options(texts: Sequence[str]) -> dict:
    """What ``--cfg-options KEY=VALUE ...`` of a command line says.

    Values are numbers, words, lists ``[a,b]`` or ``a,b`` and tuples ``(a,b)``.

    Raises:
        UsageError: If one is not of this form.
    """
    options = {}
    for text in texts:
        key, is_there, value = text.partition('=')
        if not key or not is_there:
            raise UsageError(
                f'--cfg-options {text}: write KEY=VALUE, without spaces around "=", '
                'e.g. train_cfg.max_epochs=10'
            )
        options[key] = DictAction._parse_iterable(value)
    return options


def load_config(path: str, options: dict | Sequence[str] | None = None) -> Config:
    """Read a config file and apply ``--cfg-options``.

    Options are a dict, or the texts of a command line (:func:`parse_options`).

    ``'package::folder/name.py'`` is a config that an installed package brings
    along, e.g. ``'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py'``.

    Raises:
        UsageError: If the file does not exist, cannot be read, needs a package that
            is not installed, has a misspelt part, or an option would change nothing
            (:func:`~smpconv_mm.engine.config_checks.check_options`).
    """
    if options and not isinstance(options, dict):
        options = parse_options(options)
    file = _of_package(path) if '::' in path else Path(path)
    if not file.is_file():
        raise UsageError(f'config file {path!r} does not exist')
    if file.suffix not in ('.py', '.yml', '.yaml', '.json'):
        raise UsageError(f'{path!r} is not a config; the name of one ends in .py')
    cfg = _read(file)
    lacking = lacks_for(cfg.get('default_scope', 'mmpretrain'))
    if lacking:
        raise UsageError(f'{path} needs {lacking}. {HOW_TO_INSTALL}')
    check_parts(cfg)
    if options:
        check_options(cfg, options)
        try:
            cfg.merge_from_dict(options)
        except (TypeError, KeyError) as error:
            raise UsageError(f'--cfg-options: {_said(error)}') from error
    return cfg


def _read(file: Path) -> Config:
    try:
        try:
            return Config.fromfile(file)
        except RuntimeError as error:
            if 'lazy_import' not in str(error):
                raise
            # MMEngine mistook a base with an import for a config of its new style
            return Config.fromfile(file, lazy_import=False)
    except ModuleNotFoundError as error:  # of a base like 'mmdet::_base_/...'
        raise UsageError(f'{file}: {_said(error)}. {HOW_TO_INSTALL}') from error
    except Exception as error:  # of the Python that a config is
        if isinstance(error, OSError) and error.errno:  # of the system
            raise
        raise UsageError(f'config {file}: {_said(error)}') from error


def _said(error: Exception) -> str:
    """What went wrong when configs were read or merged."""
    text = ' '.join(str(error).split()).strip('"')
    merged = re.search(r'because (\S+) is a dict in the child', text)
    if merged:
        return (
            f'{merged[1]} is a dict here and a plain value in the base; write '
            f'{merged[1]}=dict(_delete_=True, ...) to replace it'
        )
    if isinstance(error, ModuleNotFoundError):
        return text.split(',')[0]
    return f'{type(error).__name__}: {text}'


def _of_package(name: str) -> Path:
    package, _, path = name.partition('::')
    if package == 'smpconv_mm':
        return own_config(path)
    if find_spec(package) is None:
        raise UsageError(f'{name}: the package {package!r} is not installed')
    return Path(get_installed_path(package), '.mim', 'configs', path)


def set_work_dir(cfg: Config, work_dir: str | None) -> None:
    """Set the work dir: of the command line, else of the config, else by its name."""
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
    """Scale the learning rate with the number of images per step."""
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
        # mmdet appends a relative folder again for every image
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
        _check_loader(cfg.get(f'{phase}_dataloader') or {}, phase)
        dataset = (cfg.get(f'{phase}_dataloader') or {}).get('dataset', {})
        _check_order_of_classes(dataset, phase)
        root = dataset.get('data_root')
        if root and '://' not in root and not Path(root).expanduser().is_dir():
            raise UsageError(
                f'data folder {root!r} of {phase}_dataloader does not exist; put or '
                f'link the data there ({_readme(cfg)} shows the layout), or '
                f'pass --cfg-options {phase}_dataloader.dataset.data_root=FOLDER'
            )


def _check_loader(loader: dict, phase: str) -> None:
    for key, least in (('batch_size', 1), ('num_workers', 0)):
        value = loader.get(key, least)
        if not isinstance(value, int) or value < least:
            raise UsageError(
                f'config: {phase}_dataloader.{key} must be a whole number, {least} or '
                f'more, got {value!r}'
            )


def _check_order_of_classes(dataset: Config, phase: str) -> None:
    """Folders are labelled in alphabetical order, whatever names a config gives."""
    classes = dataset.get('metainfo', {}).get('classes')
    folders = dataset.get('type', '').endswith('CustomDataset')
    if not folders or dataset.get('ann_file') or not classes:
        return
    folder = Path(dataset.get('data_root', ''), dataset.get('data_prefix', ''))
    found = sorted(p.name for p in folder.expanduser().glob('*') if p.is_dir())
    if set(found) == set(classes) and found != list(classes):
        raise UsageError(
            f'config: {phase}_dataloader.dataset.metainfo.classes is {list(classes)}, '
            f'but the folders in {folder} are labelled in alphabetical order; write '
            f'classes={found}, or leave metainfo out'
        )


def preprocessor_of(cfg: Config) -> dict:
    """The arguments of the data preprocessor, e.g. ``mean``; {} if there are none.

    As MMEngine's runner does, it takes those of the model before the config's own.
    """
    return cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}


def turns_channels(cfg: Config) -> bool:
    """Whether the preprocessor of a config turns the channels, from BGR to RGB."""
    settings = preprocessor_of(cfg)
    return bool(settings.get('to_rgb') or settings.get('bgr_to_rgb'))


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
