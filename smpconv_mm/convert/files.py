"""Checkpoint files in, checkpoint files out."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn

from smpconv_mm import __version__
from smpconv_mm.layers import switch_to_deploy
from smpconv_mm.registry import MODELS
from smpconv_mm.utils.checkpoint import (
    CheckpointError,
    check_fits,
    load,
    load_into,
    save,
    state_dict_of,
)

from .smpconv import Report, convert_smpconv

# What a training writes that a user of the weights does not need
_TRAINING_ONLY = ('optimizer', 'param_schedulers', 'message_hub', 'ema_state_dict')


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
    model, config = _model_for(report, converted)
    check_fits(model, converted, src)
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

    save(
        dict(
            state_dict=converted,
            meta=dict(
                converted_from=f'SMPConv {task}, {source or "state dict"}',
                config=config,
                smpconv_mm_version=__version__,
                dataset_meta=dict(classes=tuple(IMAGENET_CATEGORIES)),
            ),
        ),
        dst,
    )
    return report, source or 'the state dict', config


def _model_for(report: Report, state_dict: dict) -> tuple[nn.Module, str]:
    """A classifier of the architecture in the report, and its config's name."""
    if 'head.fc.weight' not in state_dict:
        raise CheckpointError('the checkpoint has no classification head (head.weight)')
    classes = len(state_dict['head.fc.weight'])
    name = f'SMPNet with {report.backbone}'
    for arch, batch in [('tiny', '4xb256'), ('base', '4xb128')]:
        settings = MODELS.get('SMPNet').arch_settings[arch]
        points = [k * k // 4 for k in settings['kernel_sizes']]
        if report.backbone['arch'] == dict(settings, n_points=points):
            name = f'configs/smpconv/smpnet-{arch}_{batch}_in1k.py'
            if classes != 1000:
                name += f' with model.head.num_classes={classes}'
    model = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='smpconv_mm.SMPNet', **report.backbone),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(
                type='LinearClsHead',
                num_classes=classes,
                in_channels=report.backbone['arch']['channels'][-1],
            ),
        )
    )
    return model, name


def reparameterize_file(config: str | Path, src: str | Path, dst: str | Path) -> float:
    """Write the deploy form of a checkpoint, after comparing both forms.

    Args:
        config (str | Path): Config of the training form.
        src (str | Path): Its checkpoint.
        dst (str | Path): File to write; it fits the config with
            ``model.backbone.deploy=True``.

    Returns:
        float: Largest difference of the backbone's outputs on a random image,
        relative to their largest value.

    Raises:
        CheckpointError: If the checkpoint does not fit, or the forms differ by
            more than 1e-4.
    """
    cfg = Config.fromfile(config)
    model = MODELS.build(cfg.model).eval()
    checkpoint = load_into(model, src)
    # float64: the comparison is to find mistakes, not rounding
    image = torch.rand(
        1, getattr(model.backbone, 'in_channels', 3), 64, 64, dtype=torch.float64
    )
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
            SHA-256 are put before its suffix.

    Returns:
        Path: The file written.
    """
    checkpoint = load(src)
    if 'state_dict' not in checkpoint:
        raise CheckpointError(
            f'checkpoint {src} has no state_dict, only {list(checkpoint)[:5]}'
        )
    kept = {k: v for k, v in checkpoint.items() if k not in _TRAINING_ONLY}
    dst = Path(dst)
    save(kept, dst)
    digits = hashlib.sha256(dst.read_bytes()).hexdigest()[:8]
    return dst.replace(dst.with_name(f'{dst.stem}-{digits}{dst.suffix or ".pth"}'))
