"""Checkpoints of the SMPConv authors' repository (sangnekim/SMPConv).

The names of their entries are listed in the table below; everything else is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from smpconv_mm.utils.checkpoint import CheckpointError


@dataclass
class Report:
    """What became of the entries of a checkpoint.

    Attributes:
        renamed (dict[str, str]): Old name to new name.
        dropped (dict[str, str]): Old name to the reason.
        backbone (dict): Arguments of :class:`smpconv_mm.models.SMPNet`, read off
            the shapes.
    """

    renamed: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    backbone: dict = field(default_factory=dict)


_BN = r'(?:weight|bias|running_mean|running_var|num_batches_tracked)'
_CONV_BN = rf'(?:conv\.weight|bn\.{_BN})'
_SMP = r'stages\.\d+\.blocks\.\d+\.large_kernel\.smp\.conv\.'

# pattern of the whole old name -> new name; None drops the entry
_IMAGENET_RULES: list[tuple[str, str | None]] = [
    (rf'((?:stem\.\d|transitions\.\d\.[01])\.{_CONV_BN})', r'backbone.\1'),
    (
        rf'(stages\.\d\.blocks\.\d+\.(?:(?:pw1|pw2|large_kernel\.small_conv)\.{_CONV_BN}'
        rf'|large_kernel\.smp\.bn\.{_BN}))',
        r'backbone.\1',
    ),
    (
        rf'(stages\.\d\.blocks\.\d+)\.(?:prelkb_bn|preffn_bn)\.({_BN})',
        r'backbone.\1.norm.\2',
    ),
    (rf'({_SMP})weight_coord', r'backbone.\1kernel.coord'),
    (rf'({_SMP})radius', r'backbone.\1kernel.radius'),
    (rf'({_SMP})weights', r'backbone.\1kernel.weight'),
    (rf'{_SMP}kernel_coord', None),
    (rf'stages\.(\d)\.norm\.({_BN})', r'backbone.norm\1.\2'),
    (rf'norm\.({_BN})', r'backbone.norm{last}.\1'),
    (r'head\.(weight|bias)', r'head.fc.\1'),
]


def _convert_imagenet(state_dict: Mapping[str, Tensor]) -> tuple[dict, Report]:
    report = Report(backbone=_read_backbone(state_dict))
    last = len(report.backbone['arch']['channels']) - 1
    out: dict[str, Tensor] = {}
    unknown = []
    for old, value in state_dict.items():
        rules = ((re.fullmatch(p, old), new) for p, new in _IMAGENET_RULES)
        match, replacement = next((r for r in rules if r[0]), (None, None))
        if match is None:
            unknown.append(old)
            continue
        if replacement is None:
            _check_grid(old, value)
            report.dropped[old] = 'sampling grid, computed when needed'
            continue
        new = match.expand(replacement.replace('{last}', str(last)))
        if old.endswith('.radius'):
            value = value.reshape(value.shape[:2])  # drop two unit axes
        out[new] = value
        report.renamed[old] = new
    if unknown:
        raise CheckpointError(
            f'{len(unknown)} entries are not of an SMPConv ImageNet model, first '
            f'{unknown[:3]}; nothing was converted. Is --task right?'
        )
    return out, report


def _check_grid(name: str, grid: Tensor) -> None:
    k = grid.shape[-1]
    axis = torch.linspace(-1, 1, k)
    expected = torch.stack(torch.meshgrid(axis, axis, indexing='ij'))[None]
    if grid.shape != expected.shape or not torch.allclose(
        grid.float(), expected, atol=1e-6
    ):
        raise CheckpointError(
            f'{name} is not the sampling grid of a {k}x{k} kernel; the checkpoint '
            'was made by a changed program'
        )


def _read_backbone(state_dict: Mapping[str, Tensor]) -> dict:
    """Read the arguments of SMPNet off the shapes."""

    def shape(name: str) -> torch.Size:
        if name not in state_dict:
            raise CheckpointError(
                f'the checkpoint has no {name}: it is not complete, or not of an '
                'SMPConv ImageNet model. Is --task right?'
            )
        return state_dict[name].shape

    arch: dict[str, list[int]] = dict(
        channels=[], depths=[], kernel_sizes=[], n_points=[]
    )
    stages = {key.split('.')[1] for key in state_dict if key.startswith('stages.')}
    for stage in range(max(1, len(stages))):
        prefix = f'stages.{stage}.blocks.'
        smp = f'{prefix}0.large_kernel.smp.conv.'
        arch['channels'].append(shape(f'{prefix}0.prelkb_bn.weight')[0])
        arch['kernel_sizes'].append(shape(f'{smp}kernel_coord')[-1])
        arch['n_points'].append(shape(f'{smp}weight_coord')[1])
        blocks = {key.split('.')[3] for key in state_dict if key.startswith(prefix)}
        arch['depths'].append(len(blocks) // 2)
    width = arch['channels'][0]
    smp_block, ffn = 'stages.0.blocks.0.', 'stages.0.blocks.1.'
    small = shape(f'{smp_block}large_kernel.small_conv.conv.weight')
    return dict(
        arch=arch,
        in_channels=shape('stem.0.conv.weight')[1],
        small_kernel_size=small[-1],
        dw_ratio=shape(f'{smp_block}pw1.conv.weight')[0] / width,
        ffn_ratio=shape(f'{ffn}pw1.conv.weight')[0] / width,
    )


TASKS: dict[str, Callable[[Mapping[str, Tensor]], tuple[dict, Report]]] = {
    'imagenet': _convert_imagenet,
}


def convert_smpconv(
    state_dict: Mapping[str, Tensor], task: str = 'imagenet'
) -> tuple[dict[str, Tensor], Report]:
    """Rename the entries of an original checkpoint to those of our classifier.

    Args:
        state_dict (Mapping[str, Tensor]): Entries as the original saves them.
        task (str): One of :data:`TASKS`.

    Returns:
        tuple[dict, Report]: Entries for the model of our config, and what
        became of each.

    Raises:
        ValueError: If the task is unknown.
        CheckpointError: If an entry is not one of the original's.
    """
    if task not in TASKS:
        raise ValueError(f'task {task!r} is unknown; choose one of {sorted(TASKS)}')
    return TASKS[task](state_dict)
