"""Checkpoint files in, checkpoint files out."""

from __future__ import annotations

import argparse
import hashlib
import inspect
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn

from smpconv_mm import __version__
from smpconv_mm.checkpoint import (
    adapted_shapes,
    atomic_path,
    check_finite,
    check_fits,
    load,
    load_into,
    save,
    shapes_of,
    state_dict_of,
    to_bytes,
)
from smpconv_mm.compat.mmengine import index_folder
from smpconv_mm.datasets.transforms.sequence import pixel_permutation
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model
from smpconv_mm.errors import CheckpointError
from smpconv_mm.layers import DCLSKernel, switch_to_deploy
from smpconv_mm.registry import DATASETS, MODELS

from .ccnn import convert_ccnn
from .dcls import convert_dcls
from .flexconv import convert_flexconv
from .involution import convert_involution
from .oriented1d import convert_oriented1d
from .rules import Report
from .smpconv import TASKS, convert_smpconv
from .unireplknet import convert_unireplknet


def convert_smpconv_file(
    src: str | Path, dst: str | Path, task: str, averaged: bool = True
) -> tuple[Report, str, str]:
    """Convert an original SMPConv checkpoint.

    Args:
        src (str | Path): File of the original project.
        dst (str | Path): File to write: ``dict(state_dict=..., meta=...)``.
        task (str): One of ``TASKS``.
        averaged (bool): Prefer the entry ``state_dict_ema``. Defaults to True.

    Returns:
        tuple: The report, the entry of ``src`` that was read and the name of
        the config whose model the result fits.

    Raises:
        CheckpointError: If the file is not what ``task`` says.
    """
    # timm keeps its command line in the file as a Namespace: plain values
    torch.serialization.add_safe_globals([argparse.Namespace])
    checkpoint = load(src)
    names = ['state_dict', 'model', 'model_ema']
    if averaged:
        names.insert(0, 'state_dict_ema')
    source = next((name for name in names if checkpoint.get(name)), None)
    state_dict = state_dict_of(
        {'state_dict': checkpoint[source]} if source else checkpoint
    )
    if not state_dict:
        raise CheckpointError(
            f'checkpoint {src} holds no tensors; its entries are {list(checkpoint)[:5]}'
        )
    converted, report = convert_smpconv(state_dict, task)
    cfg, config = _fit(task, report, converted, src)
    save(
        dict(
            state_dict=converted,
            meta=dict(
                converted_from=f'SMPConv {task}, {source or "state dict"}',
                config=config,
                smpconv_mm_version=__version__,
                dataset_meta=_dataset_meta(cfg, len(converted['head.fc.bias'])),
            ),
        ),
        dst,
    )
    return report, source or 'the state dict', config


def _involution(state_dict, model, whole):
    return convert_involution(state_dict, head=whole)


def _oriented1d(state_dict, model, whole):
    return convert_oriented1d(state_dict, shapes_of(model), classifier=whole)


def _flexconv(state_dict, model, whole):
    return convert_flexconv(state_dict)


def _ccnn(state_dict, model, whole):
    return convert_ccnn(state_dict)


def _dcls(state_dict, model, whole):
    kernels = (m for m in model.modules() if isinstance(m, DCLSKernel))
    version = next((kernel.version for kernel in kernels), 'v0')
    return convert_dcls(state_dict, version, classifier=whole)


def _unireplknet(state_dict, model, whole):
    converted, report = convert_unireplknet(state_dict, classifier=whole)
    if report.deploy:
        switch_to_deploy(model)
    return converted, report


# Called with the entries of a file, the model that they are for, and whether that is
# all of the config's model (else it is the backbone of a detector or segmenter)
_CONVERTERS = dict(
    ccnn=_ccnn,
    dcls=_dcls,
    flexconv=_flexconv,
    involution=_involution,
    oriented1d=_oriented1d,
    unireplknet=_unireplknet,
)


def convert_file(
    src: str | Path,
    dst: str | Path,
    origin: str,
    config: str | Path,
    averaged: bool = False,
) -> Report:
    """Convert a checkpoint of an original project, for the model of a config.

    Of a classifier, where the config is of a detector or segmenter, the result is the
    backbone alone, for ``init_cfg=dict(type='Pretrained', prefix='backbone.')``.

    Args:
        src (str | Path): File of the original project.
        dst (str | Path): File to write: ``dict(state_dict=..., meta=...)``.
        origin (str): ``'ccnn'``, ``'dcls'``, ``'flexconv'`` (or CKConv),
            ``'involution'`` (or C-volution), ``'oriented1d'`` or ``'unireplknet'``.
        config (str | Path): Config of the model that it is meant for.
        averaged (bool): Take the entry ``model_ema`` of the file, and not ``model``.
            Defaults to False.

    Returns:
        Report: What became of each entry.

    Raises:
        CheckpointError: If the file is not of the model of the config, entry by
            entry and shape by shape.
    """
    # some files keep the command line as a Namespace: plain values
    torch.serialization.add_safe_globals([argparse.Namespace])
    checkpoint = load(src)
    if averaged and 'model_ema' not in checkpoint:
        raise CheckpointError(
            f'checkpoint {src} has no averaged weights (model_ema), only '
            f'{list(checkpoint)[:5]}; leave out --ema'
        )
    name = 'model_ema' if averaged else 'model'
    state_dict = state_dict_of(checkpoint.get(name, checkpoint))
    if not state_dict:
        raise CheckpointError(f'checkpoint {src} holds no tensors')
    model, whole = _model_for(load_config(str(config)), state_dict)
    converted, report = _CONVERTERS[origin](state_dict, model, whole)
    if not whole:  # norms of the maps, which a classifier does not have
        norms = [f'backbone.norm{i}.' for i in model.backbone.out_indices]
        for key, value in model.state_dict().items():
            if key.startswith(tuple(norms)) and key not in converted:
                converted[key] = value
                report.added.append(key)
    check_fits(model, converted, src)
    meta = dict(
        converted_from=f'{origin}, {name}',
        config=str(config),
        smpconv_mm_version=__version__,
    )
    if report.deploy:
        meta['deploy'] = True
    save(dict(state_dict=converted, meta=meta), dst)
    return report


def _model_for(cfg: Config, state_dict: dict[str, Tensor]) -> tuple[nn.Module, bool]:
    """The model that entries are for, and whether it is all that the config says.

    Of a detector or segmenter they may be for the backbone alone.
    """
    parts = {key.partition('.')[0] for key in state_dict}
    downstream = {'neck', 'rpn_head', 'roi_head', 'bbox_head', 'decode_head'}
    if cfg.model.type.endswith('Classifier') or parts & downstream:
        return build_model(cfg), True
    return nn.ModuleDict(dict(backbone=build_model(cfg, part='backbone'))), False


def _fit(
    task: str, report: Report, state_dict: dict[str, Tensor], src: str | Path
) -> tuple[Config, str]:
    """The published config, changed so that its model fits, and its name."""
    if 'head.fc.weight' not in state_dict:
        raise CheckpointError('the checkpoint has no classification head')
    name, cfg = _published(task, report)
    classes = len(state_dict['head.fc.weight'])
    features = report.backbone.get('arch', report.backbone)['channels'][-1]
    head = dict(num_classes=classes, in_channels=features)
    changes = {}
    for part, values, published in [
        ('backbone', report.backbone, _backbone_arguments(cfg)),
        ('head', head, cfg.model.head),
    ]:
        for key, value in values.items():
            if not _equal(published[key], value):
                changes[f'model.{part}.{key}'] = value
                cfg.model[part][key] = value
    cfg.model.pop('train_cfg', None)  # says that it augments
    model = build_model(cfg)
    arch = report.backbone.get('arch')
    if arch and adapted_shapes(model, state_dict):  # other numbers of points
        changes['model.backbone.arch'] = cfg.model.backbone.arch = arch
        model = build_model(cfg)
    check_fits(model, state_dict, src)
    text = f'configs/smpconv/{name}.py'
    if changes:
        text += f' with {" ".join(f"{k}={v}" for k, v in changes.items())}'
    return cfg, text


def _published(task: str, report: Report) -> tuple[str, Config]:
    """Name and content of the task's config, the one with this ``arch`` if several."""
    folder = index_folder() / 'configs/smpconv'
    found = {
        name: load_config(str(folder / f'{name}.py')) for name in TASKS[task].configs
    }
    for name, cfg in found.items():
        arch = _backbone_arguments(cfg).get('arch')
        if arch and _equal(arch, report.backbone['arch']):
            return name, cfg
    return next(iter(found.items()))


def _backbone_arguments(cfg: Config) -> dict:
    """The arguments that the backbone of a config is built with, with defaults."""
    kind = MODELS.get(cfg.model.backbone.type)
    arguments: dict = {}
    for parent in reversed(kind.__mro__):
        parameters = inspect.signature(parent.__init__).parameters.values()
        arguments.update({p.name: p.default for p in parameters})
    arguments.update(cfg.model.backbone)
    if isinstance(arguments.get('arch'), str):
        arguments['arch'] = kind.arch_settings[arguments['arch']]
    return arguments


def _equal(published: object, read: object) -> bool:
    if isinstance(published, dict):  # an arch need not name its numbers of points
        return all(_equal(value, read[key]) for key, value in published.items())
    return list(published) == read if isinstance(read, list) else published == read


def _dataset_meta(cfg: Config, classes: int) -> dict:
    """Names of classes, and the order of permuted pixels, as a training keeps them."""
    dataset = cfg.test_dataloader.dataset
    with DATASETS.switch_scope_and_registry('mmpretrain') as datasets:
        kind = datasets.get(dataset.type)
    meta = {}
    names = kind.METAINFO.get('classes', ())
    if len(names) == classes:
        meta['classes'] = tuple(names)
    if dataset.get('permutation_seed') is not None:
        order = pixel_permutation(kind.PIXELS, dataset.permutation_seed)
        meta['permutation'] = tuple(order.tolist())
    return meta


def reparameterize_file(config: str | Path, src: str | Path, dst: str | Path) -> float:
    """Write the deploy form of a checkpoint, after comparing both forms.

    Args:
        config (str | Path): Config of the training form.
        src (str | Path): Its checkpoint.
        dst (str | Path): File to write; it fits the config with
            ``model.backbone.deploy=True``.

    Returns:
        float: Largest difference of the backbone's outputs on a random input,
        relative to their largest value.

    Raises:
        CheckpointError: If the checkpoint does not fit, or the forms differ by
            more than 1e-4.
    """
    model = build_model(load_config(str(config))).eval()
    checkpoint = load_into(model, src)
    # float64: the comparison is to find mistakes, not rounding
    channels = getattr(model.backbone, 'in_channels', 3)
    side = (64,) * getattr(model.backbone, 'ndim', 2)
    image = torch.rand(1, channels, *side, dtype=torch.float64)
    with torch.no_grad():
        model.double()
        before = model.backbone(image)
        switch_to_deploy(model)
        after = model.backbone(image)
        model.float()
    error = max(
        float((a - b).abs().max() / b.abs().max().clamp(min=1e-30))
        for a, b in zip(after, before)
    )
    if not error <= 1e-4:
        raise CheckpointError(
            f'the deploy form of {src} differs by {error:.1e} from its training form'
        )
    meta = dict(checkpoint.get('meta', {}), deploy=True)
    save(dict(state_dict=model.state_dict(), meta=meta), dst)
    return error


def publish_file(src: str | Path, dst: str | Path) -> Path:
    """Strip a checkpoint to its weights and name it after their hash.

    Args:
        src (str | Path): Checkpoint of a training.
        dst (str | Path): Name to write to; the first eight digits of the file's
            SHA-256 are put before its suffix, which is ``.pth`` or ``.safetensors``.

    Returns:
        Path: The file written; ``src`` stays as it is.

    Raises:
        CheckpointError: If there are no weights in it, or not all are finite.
    """
    checkpoint = load(src)
    state_dict = checkpoint.get('state_dict')
    if not state_dict:
        raise CheckpointError(
            f'checkpoint {src} has no state_dict, only {list(checkpoint)[:5]}'
        )
    check_finite(state_dict_of(checkpoint), src)
    dst = Path(dst)
    suffix = dst.suffix or '.pth'
    published = dict(state_dict=state_dict, meta=checkpoint.get('meta', {}))
    content = to_bytes(published, suffix)
    digits = hashlib.sha256(content).hexdigest()[:8]
    dst = dst.with_name(f'{dst.stem}-{digits}{suffix}')
    with atomic_path(dst) as temporary:
        temporary.write_bytes(content)
    return dst
