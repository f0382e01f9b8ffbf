"""Checkpoints of the SMPConv authors' repository (sangnekim/SMPConv).

The names of their entries are listed in the table below; everything else is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from smpconv_mm.errors import CheckpointError


@dataclass
class Report:
    """What became of the entries of a checkpoint.

    Attributes:
        renamed (dict[str, str]): Old name to new name.
        dropped (dict[str, str]): Old name to the reason.
        backbone (dict): Type and arguments of the backbone, read off the
            entries.
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


def _large_kernel_rules(old: str, digit: str, new: str) -> list:
    """Rules of the dense layers: an SMP convolution, a small one, their norms."""
    return [
        (rf'{old}cconv{digit}\.Kernel\.weight_coord', f'{new}.smp.conv.kernel.coord'),
        (rf'{old}cconv{digit}\.Kernel\.radius', f'{new}.smp.conv.kernel.radius'),
        (rf'{old}cconv{digit}\.Kernel\.weights', f'{new}.smp.conv.kernel.weight'),
        (rf'{old}cconv{digit}\.bias', f'{new}.smp.conv.bias'),
        (rf'{old}cconv{digit}\.train_length', None),
        (
            rf'{old}cconv{digit}s\.(?P<end>weight|bias)',
            rf'{new}.small_conv.conv.\g<end>',
        ),
        (rf'{old}norm{digit}\.(?P<end>{_BN})', rf'{new}.smp.bn.\g<end>'),
        (rf'{old}norm{digit}s\.(?P<end>{_BN})', rf'{new}.small_conv.bn.\g<end>'),
    ]


def _block_rules(old: str) -> list:
    block, new = rf'{old}\.(?P<i>\d+)\.', r'backbone.blocks.\g<i>.'
    return [
        *_large_kernel_rules(block, r'(?P<n>[12])', rf'{new}conv\g<n>'),
        (rf'{block}shortcut\.0\.(?P<end>weight|bias)', rf'{new}shortcut.\g<end>'),
    ]


_TCN_RULES = [
    *_block_rules('backbone'),
    (r'finallyr\.(weight|bias)', r'head.fc.\1'),
]
_RESNET_RULES = [
    *_large_kernel_rules('', '1', 'backbone.stem.0'),
    *_block_rules('blocks'),
    (r'out_layer\.(weight|bias)', r'head.fc.\1'),
]


def _convert_imagenet(state_dict: Mapping[str, Tensor]) -> tuple[dict, Report]:
    report = Report(backbone=_read_smpnet(state_dict))
    last = len(report.backbone['arch']['channels']) - 1
    rules = [
        (old, new and new.replace('{last}', str(last))) for old, new in _IMAGENET_RULES
    ]
    return _rename(state_dict, rules, report, 'an SMPConv ImageNet model'), report


def _convert_sequence(
    task: str, state_dict: Mapping[str, Tensor]
) -> tuple[dict, Report]:
    report = Report(backbone=_read_tcn(state_dict, SEQUENCE_TASKS[task]['kernel_size']))
    name = 'an SMPConv sequence model'
    return _rename(state_dict, _TCN_RULES, report, name), report


def _convert_cifar10(state_dict: Mapping[str, Tensor]) -> tuple[dict, Report]:
    report = Report(backbone=_read_resnet(state_dict))
    name = 'an SMPConv CIFAR model'
    return _rename(state_dict, _RESNET_RULES, report, name), report


def _rename(
    state_dict: Mapping[str, Tensor], rules: list, report: Report, model: str
) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    unknown = []
    for old, value in state_dict.items():
        matches = ((re.fullmatch(p, old), new) for p, new in rules)
        match, replacement = next((m for m in matches if m[0]), (None, None))
        if match is None:
            unknown.append(old)
            continue
        if replacement is None:
            report.dropped[old] = 'size of the kernel, stands in the config'
            if old.endswith('.kernel_coord'):
                _check_grid(old, value)
                report.dropped[old] = 'sampling grid, computed when needed'
            continue
        new = match.expand(replacement)
        if old.endswith('.radius'):
            value = value.reshape(value.shape[:2])  # drop unit axes
        if old == 'out_layer.weight':
            value = value.flatten(1)  # a 1x1 convolution of pooled maps
        out[new] = value
        report.renamed[old] = new
    if unknown:
        raise CheckpointError(
            f'{len(unknown)} entries are not of {model}, first {unknown[:3]}; nothing '
            'was converted. Is --task right?'
        )
    return out


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


def _shapes(state_dict: Mapping[str, Tensor], model: str) -> Callable:
    def shape(name: str) -> torch.Size:
        if name not in state_dict:
            raise CheckpointError(
                f'the checkpoint has no {name}: it is not complete, or not of '
                f'{model}. Is --task right?'
            )
        return state_dict[name].shape

    return shape


def _children(state_dict: Mapping[str, Tensor], prefix: str) -> int:
    """Number of different names right after a prefix; at least 1."""
    depth = prefix.count('.')
    return len({k.split('.')[depth] for k in state_dict if k.startswith(prefix)}) or 1


def _read_smpnet(state_dict: Mapping[str, Tensor]) -> dict:
    """Read the arguments of SMPNet off the shapes."""
    shape = _shapes(state_dict, 'an SMPConv ImageNet model')
    arch: dict[str, list[int]] = dict(
        channels=[], depths=[], kernel_sizes=[], n_points=[]
    )
    for stage in range(_children(state_dict, 'stages.')):
        prefix = f'stages.{stage}.blocks.'
        smp = f'{prefix}0.large_kernel.smp.conv.'
        arch['channels'].append(shape(f'{prefix}0.prelkb_bn.weight')[0])
        arch['kernel_sizes'].append(shape(f'{smp}kernel_coord')[-1])
        arch['n_points'].append(shape(f'{smp}weight_coord')[1])
        arch['depths'].append(_children(state_dict, prefix) // 2)
    width = arch['channels'][0]
    smp_block, ffn = 'stages.0.blocks.0.', 'stages.0.blocks.1.'
    small = shape(f'{smp_block}large_kernel.small_conv.conv.weight')
    return dict(
        type='smpconv_mm.SMPNet',
        arch=arch,
        in_channels=shape('stem.0.conv.weight')[1],
        small_kernel_size=small[-1],
        dw_ratio=shape(f'{smp_block}pw1.conv.weight')[0] / width,
        ffn_ratio=shape(f'{ffn}pw1.conv.weight')[0] / width,
    )


def _read_tcn(state_dict: Mapping[str, Tensor], length: int) -> dict:
    """Read the arguments of SMPTCN off the entries."""
    backbone = _read_blocks(state_dict, 'backbone.', 'an SMPConv sequence model')
    size = _kernel_size(state_dict, length)
    return dict(type='smpconv_mm.SMPTCN', kernel_size=size, **backbone)


def _read_resnet(state_dict: Mapping[str, Tensor]) -> dict:
    """Read the arguments of SMPResNet off the entries."""
    backbone = _read_blocks(state_dict, 'blocks.', 'an SMPConv CIFAR model')
    stem_channels = backbone['in_channels']
    shape = _shapes(state_dict, 'an SMPConv CIFAR model')
    backbone['in_channels'] = shape('cconv1.Kernel.weights')[1]
    size = _kernel_size(state_dict, 33)
    return dict(
        type='smpconv_mm.SMPResNet',
        kernel_size=size,
        stem_channels=stem_channels,
        **backbone,
    )


def _read_blocks(state_dict: Mapping[str, Tensor], prefix: str, model: str) -> dict:
    shape = _shapes(state_dict, model)
    first = shape(f'{prefix}0.cconv1.Kernel.weights')
    blocks = range(_children(state_dict, prefix))
    return dict(
        in_channels=first[1],
        channels=[shape(f'{prefix}{i}.cconv1.Kernel.weights')[0] for i in blocks],
        n_points=first[2],
        small_kernel_size=shape(f'{prefix}0.cconv1s.weight')[-1],
        conv_bias=f'{prefix}0.cconv1.bias' in state_dict,
    )


def _kernel_size(state_dict: Mapping[str, Tensor], published: int) -> int:
    """The size that the kernels took at the first input; 0 in an unused model."""
    sizes = {int(v) for k, v in state_dict.items() if k.endswith('.train_length')}
    if len(sizes) > 1:
        raise CheckpointError(
            f'the kernels have different sizes (train_length): {sorted(sizes)}; the '
            'checkpoint was made by a changed program'
        )
    return next(iter(sizes), 0) or published


# What tells the published sequence networks apart
SEQUENCE_TASKS = {
    'smnist': dict(in_channels=1, kernel_size=784, conv_bias=False),
    'pmnist': dict(in_channels=1, kernel_size=784, conv_bias=False),
    'scifar10': dict(in_channels=3, kernel_size=1024, conv_bias=True),
    'char': dict(in_channels=3, kernel_size=182, conv_bias=True),
    'speech-mfcc': dict(in_channels=20, kernel_size=161, conv_bias=True),
    'speech-raw': dict(in_channels=1, kernel_size=16000, conv_bias=False),
}

TASKS: dict[str, Callable[[Mapping[str, Tensor]], tuple[dict, Report]]] = {
    'imagenet': _convert_imagenet,
    **{task: partial(_convert_sequence, task) for task in SEQUENCE_TASKS},
    'cifar10': _convert_cifar10,
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
