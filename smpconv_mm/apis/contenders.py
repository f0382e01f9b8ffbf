"""What is compared: kernels put into a backbone, configs, networks of timm."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from mmengine.config import Config

from smpconv_mm.compat.mmengine import index_folder
from smpconv_mm.engine.config import check_data, load_config
from smpconv_mm.engine.own_images import use_images
from smpconv_mm.errors import UsageError
from smpconv_mm.registry import MODELS

from .inputs import input_size

KERNELS = dict(
    dense='DenseKernel',
    smp='SMPKernel',
    ck='CKKernel',
    flex='FlexKernel',
    oriented='OrientedKernel',
    dcls='DCLSKernel',
)
"""Names of kernels for the command line, and their registered classes."""

# rules of the optimiser for the parameters of a kernel: a base config and its variable
_RULES = dict(smp='smp_rules', flex='flex_rules', dcls='dcls_rules')


def contenders_of(
    configs: Sequence[str],
    kernels: Sequence[str] = (),
    options: dict | None = None,
    data: str | None = None,
    work_dir: str | Path = '.',
) -> dict[str, Config]:
    """The configs that are compared, by name.

    Args:
        configs (Sequence[str]): Config files, or ``'package::folder/name.py'``; after
            the first one also ``'timm::NAME'``, a network of timm, which takes the
            place of the first config's backbone.
        kernels (Sequence[str]): Keys of :data:`KERNELS`; each is put into the backbone
            of every config, but not into networks of timm. Defaults to (): the configs
            as they are.
        options (dict, optional): Changes to all configs.
        data (str, optional): Folder of images, see
            ``smpconv_mm.engine.own_images.use_images``.
        work_dir (str | Path): Where lists of the images are written.

    Raises:
        UsageError: If there are fewer than two contenders, a kernel is unknown, a
            backbone does not take kernels, or a network of timm gives no maps.
    """
    unknown = [name for name in kernels if name not in KERNELS]
    if unknown:
        raise UsageError(f'kernels {unknown} are unknown; there are {list(KERNELS)}')
    found: dict[str, Config] = {}
    alone = sum(not path.startswith(_TIMM) for path in configs) == 1
    for path in configs:
        if path.startswith(_TIMM):
            if not found:
                raise UsageError(
                    f'{path} is trained by the data and schedule of a config; name one '
                    'before it'
                )
            name = path.removeprefix(_TIMM)
            found[name] = _with_timm(next(iter(found.values())), name)
            continue
        cfg = load_config(path, options)
        cfg.work_dir = str(work_dir)
        if data:
            use_images(cfg, data)
        stem = Path(path.rpartition('::')[2]).stem
        if not kernels:
            found[stem] = cfg
        for name in kernels:
            title = name if alone else f'{stem}-{name}'
            found[title] = _with_kernel(cfg, name, path)
    if len(found) < 2:
        raise UsageError(
            'a comparison needs two contenders or more: name several configs, or '
            f'--kernels, some of {",".join(KERNELS)}'
        )
    for cfg in found.values():
        check_data(cfg, ('train', 'val'))
    return found


_TIMM = 'timm::'


def _with_timm(cfg: Config, name: str) -> Config:
    """The config with a network of timm as its backbone, from random weights."""
    if find_spec('timm') is None:
        raise UsageError(
            f'{_TIMM}{name} needs the package timm, which is not installed; run '
            'pip install "smpconv_mm[timm]"'
        )
    import timm

    if not timm.is_model(name):
        near = timm.list_models(f'*{name.split("_")[0]}*')[:5]
        raise UsageError(
            f'timm has no network {name!r}' + f'; it has {", ".join(near)}' * bool(near)
        )
    cfg = copy.deepcopy(cfg)
    backbone = dict(
        type='mmpretrain.TIMMBackbone',
        model_name=name,
        in_channels=cfg.model.backbone.get('in_channels', 3),
    )
    network = MODELS.build(backbone)
    network.eval()  # which does not return it
    features = network.timm_model.num_features
    shape, _ = input_size(cfg)
    try:
        with torch.no_grad():
            out = network(torch.zeros(1, backbone['in_channels'], *shape))[-1]
    except (AssertionError, RuntimeError) as error:
        raise UsageError(f'{_TIMM}{name} does not take {shape}: {error}') from error
    if out.dim() != 4 or out.shape[1] != features:
        raise UsageError(
            f'{_TIMM}{name} makes {tuple(out.shape)} of {shape}, not a map of '
            f'{features} channels; networks of convolutions can be compared'
        )
    cfg.model.backbone = backbone
    cfg.model.neck = dict(type='GlobalAveragePooling')
    cfg.model.head.in_channels = features
    return cfg


def _with_kernel(cfg: Config, name: str, path: str) -> Config:
    cfg = copy.deepcopy(cfg)
    backbone = cfg.model.backbone
    kind = MODELS.get(backbone.type)
    if 'kernel_cfg' not in inspect.signature(kind.__init__).parameters:
        raise UsageError(
            f'{path}: the backbone {backbone.type} takes no kernels (kernel_cfg); '
            'SMPNet, SMPTCN and SMPResNet do. Leave out --kernels to compare whole '
            'configs'
        )
    backbone.kernel_cfg = dict(type=KERNELS[name])
    if name in _RULES:
        folder = index_folder() / 'configs/_base_/schedules'
        rules = Config.fromfile(folder / f'{_RULES[name]}.py')[_RULES[name]]
        settings = cfg.optim_wrapper.setdefault('paramwise_cfg', {})
        settings.setdefault('custom_keys', {}).update(rules.get('custom_keys', rules))
    return cfg
