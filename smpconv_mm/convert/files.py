"""Checkpoint files in, checkpoint files out."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn

from smpconv_mm import __version__
from smpconv_mm.checkpoint import check_fits, load, load_into, save, state_dict_of
from smpconv_mm.errors import CheckpointError
from smpconv_mm.layers import switch_to_deploy
from smpconv_mm.registry import MODELS

from .smpconv import SEQUENCE_TASKS, Report, convert_smpconv

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
    model, config = _model_for(report, converted, task)
    check_fits(model, converted, src)
    save(
        dict(
            state_dict=converted,
            meta=dict(
                converted_from=f'SMPConv {task}, {source or "state dict"}',
                config=config,
                smpconv_mm_version=__version__,
                dataset_meta=_dataset_meta(task),
            ),
        ),
        dst,
    )
    return report, source or 'the state dict', config


_CONFIGS = {
    'smnist': 'smp-tcn_1xb64_smnist',
    'pmnist': 'smp-tcn_1xb64_pmnist',
    'scifar10': 'smp-tcn_1xb64_scifar10',
    'char': 'smp-tcn_1xb64_char-trajectories',
    'speech-mfcc': 'smp-tcn_1xb32_speech-commands-mfcc',
    'speech-raw': 'smp-tcn_1xb32_speech-commands-raw',
    'cifar10': 'smp-resnet_1xb64_cifar10',
}


def _model_for(report: Report, state_dict: dict, task: str) -> tuple[nn.Module, str]:
    """A classifier of the network in the report, and its config's name."""
    if 'head.fc.weight' not in state_dict:
        raise CheckpointError('the checkpoint has no classification head')
    classes = len(state_dict['head.fc.weight'])
    features = report.backbone.get('arch', report.backbone)['channels'][-1]
    sequence = task in SEQUENCE_TASKS
    model = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=report.backbone,
            neck=dict(
                type='smpconv_mm.LastTimeStep' if sequence else 'GlobalAveragePooling'
            ),
            head=dict(type='LinearClsHead', num_classes=classes, in_channels=features),
        )
    )
    name, backbone, published_classes = _published(report, task)
    changes = {
        f'model.backbone.{key}': value
        for key, value in report.backbone.items()
        if backbone[key] != value
    }
    if classes != published_classes:
        changes['model.head.num_classes'] = classes
    text = f'configs/smpconv/{name}.py'
    if changes:
        text += f' with {" ".join(f"{k}={v}" for k, v in changes.items())}'
    return model, text


def _published(report: Report, task: str) -> tuple[str, dict, int]:
    """Config, backbone and classes of the published model of a task."""
    if task == 'imagenet':
        arches = {}
        for arch, settings in MODELS.get('SMPNet').arch_settings.items():
            points = [k * k // 4 for k in settings['kernel_sizes']]
            arches[arch] = dict(settings, n_points=points)
        arch = 'base' if report.backbone['arch'] == arches['base'] else 'tiny'
        name = f'smpnet-{arch}_{dict(tiny="4xb256", base="4xb128")[arch]}_in1k'
        shared = dict(in_channels=3, small_kernel_size=5, dw_ratio=1, ffn_ratio=4)
        backbone = dict(type='smpconv_mm.SMPNet', arch=arches[arch], **shared)
        return name, backbone, 1000
    if task == 'cifar10':
        backbone = dict(
            type='smpconv_mm.SMPResNet',
            in_channels=3,
            kernel_size=33,
            channels=[24, 24, 36, 36, 36, 48, 48],
            stem_channels=24,
            n_points=16,
            small_kernel_size=3,
            conv_bias=False,
        )
        return _CONFIGS[task], backbone, 10
    backbone = dict(
        type='smpconv_mm.SMPTCN',
        channels=[30] * 6,
        n_points=30,
        small_kernel_size=5,
        **SEQUENCE_TASKS[task],
    )
    return _CONFIGS[task], backbone, 20 if task == 'char' else 10


def _dataset_meta(task: str) -> dict:
    """Names of classes, and the permutation of pMNIST."""
    if task == 'imagenet':
        from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

        return dict(classes=tuple(IMAGENET_CATEGORIES))
    if task == 'pmnist':
        from smpconv_mm.datasets.transforms.sequence import pixel_permutation

        return dict(permutation=tuple(pixel_permutation(784, 0).tolist()))
    return {}


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
    cfg = Config.fromfile(config)
    model = MODELS.build(cfg.model).eval()
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
