"""Checkpoints of the SMPConv authors' repository (sangnekim/SMPConv).

The names of their entries are listed in the rules below; everything else is
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from smpconv_mm.errors import CheckpointError

from .rules import Report, Rule, count, rename, shape_of


def _without_unit_axes(radius: Tensor) -> Tensor:
    return radius.reshape(radius.shape[:2])


def _check_grid(grid: Tensor) -> Tensor:
    k = grid.shape[-1]
    axis = torch.linspace(-1, 1, k)
    expected = torch.stack(torch.meshgrid(axis, axis, indexing='ij'))[None]
    if grid.shape != expected.shape or not torch.allclose(
        grid.float(), expected, atol=1e-6
    ):
        raise ValueError(
            f'is not the sampling grid of a {k}x{k} kernel; the checkpoint was made '
            'by a changed program'
        )
    return grid


_BN = r'(?:weight|bias|running_mean|running_var|num_batches_tracked)'
_CONV_BN = rf'(?:conv\.weight|bn\.{_BN})'
_SMP = r'stages\.\d+\.blocks\.\d+\.large_kernel\.smp\.conv\.'


def _smpnet_rules(state_dict: Mapping[str, Tensor]) -> list[Rule]:
    last = count(state_dict, 'stages.') - 1  # the norm of the output is its own
    return [
        Rule(rf'((?:stem\.\d|transitions\.\d\.[01])\.{_CONV_BN})', r'backbone.\1'),
        Rule(
            r'(stages\.\d\.blocks\.\d+\.(?:'
            rf'(?:pw1|pw2|large_kernel\.small_conv)\.{_CONV_BN}'
            rf'|large_kernel\.smp\.bn\.{_BN}))',
            r'backbone.\1',
        ),
        Rule(
            rf'(stages\.\d\.blocks\.\d+)\.(?:prelkb_bn|preffn_bn)\.({_BN})',
            r'backbone.\1.norm.\2',
        ),
        Rule(rf'({_SMP})weight_coord', r'backbone.\1kernel.coord'),
        Rule(rf'({_SMP})radius', r'backbone.\1kernel.radius', _without_unit_axes),
        Rule(rf'({_SMP})weights', r'backbone.\1kernel.weight'),
        Rule(
            rf'{_SMP}kernel_coord',
            None,
            _check_grid,
            'sampling grid, computed when needed',
        ),
        Rule(rf'stages\.(\d)\.norm\.({_BN})', r'backbone.norm\1.\2'),
        Rule(rf'norm\.({_BN})', rf'backbone.norm{last}.\1'),
        Rule(r'head\.(weight|bias)', r'head.fc.\1'),
    ]


def _large_kernel_rules(old: str, digit: str, new: str) -> list[Rule]:
    """Rules of the dense layers: an SMP convolution, a small one, their norms."""
    conv, norm = f'{old}cconv{digit}', f'{old}norm{digit}'
    kernel = f'{new}.smp.conv.kernel'
    return [
        Rule(rf'{conv}\.Kernel\.weight_coord', f'{kernel}.coord'),
        Rule(rf'{conv}\.Kernel\.radius', f'{kernel}.radius', _without_unit_axes),
        Rule(rf'{conv}\.Kernel\.weights', f'{kernel}.weight'),
        Rule(rf'{conv}\.bias', f'{new}.smp.conv.bias'),
        Rule(
            rf'{conv}\.train_length',
            None,
            reason='size of the kernel, stands in the config',
        ),
        Rule(rf'{conv}s\.(?P<end>weight|bias)', rf'{new}.small_conv.conv.\g<end>'),
        Rule(rf'{norm}\.(?P<end>{_BN})', rf'{new}.smp.bn.\g<end>'),
        Rule(rf'{norm}s\.(?P<end>{_BN})', rf'{new}.small_conv.bn.\g<end>'),
    ]


def _block_rules(old: str) -> list[Rule]:
    block, new = rf'{old}\.(?P<i>\d+)\.', r'backbone.blocks.\g<i>.'
    return [
        *_large_kernel_rules(block, r'(?P<n>[12])', rf'{new}conv\g<n>'),
        Rule(rf'{block}shortcut\.0\.(?P<end>weight|bias)', rf'{new}shortcut.\g<end>'),
    ]


def _tcn_rules(state_dict: Mapping[str, Tensor]) -> list[Rule]:
    head = Rule(r'finallyr\.(weight|bias)', r'head.fc.\1')
    return [*_block_rules('backbone'), head]


def _resnet_rules(state_dict: Mapping[str, Tensor]) -> list[Rule]:
    return [
        *_large_kernel_rules('', '1', 'backbone.stem.0'),
        *_block_rules('blocks'),
        # a 1x1 convolution of pooled maps
        Rule(r'out_layer\.weight', 'head.fc.weight', lambda value: value.flatten(1)),
        Rule(r'out_layer\.bias', 'head.fc.bias'),
    ]


def _read_smpnet(state_dict: Mapping[str, Tensor], source: str) -> dict:
    """Read the arguments of SMPNet off the shapes."""

    def shape(name: str) -> list[int]:
        return shape_of(state_dict, name, source)

    arch: dict[str, list[int]] = dict(
        channels=[], depths=[], kernel_sizes=[], n_points=[]
    )
    for stage in range(count(state_dict, 'stages.')):
        prefix = f'stages.{stage}.blocks.'
        smp = f'{prefix}0.large_kernel.smp.conv.'
        arch['channels'].append(shape(f'{prefix}0.prelkb_bn.weight')[0])
        arch['kernel_sizes'].append(shape(f'{smp}kernel_coord')[-1])
        arch['n_points'].append(shape(f'{smp}weight_coord')[1])
        arch['depths'].append(count(state_dict, prefix) // 2)
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


def _read_tcn(state_dict: Mapping[str, Tensor], source: str) -> dict:
    """Read the arguments of SMPTCN off the entries."""
    return _read_blocks(state_dict, 'backbone.', source)


def _read_resnet(state_dict: Mapping[str, Tensor], source: str) -> dict:
    """Read the arguments of SMPResNet off the entries."""
    backbone = _read_blocks(state_dict, 'blocks.', source)
    stem_channels = backbone['in_channels']
    in_channels = shape_of(state_dict, 'cconv1.Kernel.weights', source)[1]
    return dict(backbone, in_channels=in_channels, stem_channels=stem_channels)


def _read_blocks(state_dict: Mapping[str, Tensor], prefix: str, source: str) -> dict:
    def shape(name: str) -> list[int]:
        return shape_of(state_dict, f'{prefix}{name}', source)

    first = shape('0.cconv1.Kernel.weights')
    blocks = range(count(state_dict, prefix))
    backbone = dict(
        in_channels=first[1],
        channels=[shape(f'{i}.cconv1.Kernel.weights')[0] for i in blocks],
        n_points=first[2],
        small_kernel_size=shape('0.cconv1s.weight')[-1],
        conv_bias=f'{prefix}0.cconv1.bias' in state_dict,
    )
    sizes = {int(v) for k, v in state_dict.items() if k.endswith('.train_length')}
    if len(sizes) > 1:
        raise CheckpointError(
            f'the kernels have different sizes (train_length): {sorted(sizes)}; the '
            'checkpoint was made by a changed program'
        )
    # kernels take their size at the first input; those of an unused model have none
    return dict(backbone, kernel_size=sizes.pop()) if sizes - {0} else backbone


class Task(NamedTuple):
    """A kind of published checkpoint.

    Attributes:
        source (str): What it is, for messages.
        configs (tuple[str, ...]): Names of our configs of its models.
        rules (Callable): The rules for a state dict.
        read (Callable): The arguments of the backbone of a state dict.
    """

    source: str
    configs: tuple[str, ...]
    rules: Callable[[Mapping[str, Tensor]], list[Rule]]
    read: Callable[[Mapping[str, Tensor], str], dict]


def _sequence(config: str) -> Task:
    return Task('an SMPConv sequence model', (config,), _tcn_rules, _read_tcn)


TASKS: dict[str, Task] = {
    'imagenet': Task(
        'an SMPConv ImageNet model',
        ('smpnet-tiny_4xb256_in1k', 'smpnet-base_4xb128_in1k'),
        _smpnet_rules,
        _read_smpnet,
    ),
    'smnist': _sequence('smp-tcn_1xb64_smnist'),
    'pmnist': _sequence('smp-tcn_1xb64_pmnist'),
    'scifar10': _sequence('smp-tcn_1xb64_scifar10'),
    'char': _sequence('smp-tcn_1xb64_char-trajectories'),
    'speech-mfcc': _sequence('smp-tcn_1xb32_speech-commands-mfcc'),
    'speech-raw': _sequence('smp-tcn_1xb32_speech-commands-raw'),
    'cifar10': Task(
        'an SMPConv CIFAR model',
        ('smp-resnet_1xb64_cifar10',),
        _resnet_rules,
        _read_resnet,
    ),
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
    source, _, rules, read = TASKS[task]
    backbone = read(state_dict, source)
    converted, report = rename(state_dict, rules(state_dict), source)
    report.backbone = backbone
    return converted, report
