"""Checkpoints of the FlexConv and CKConv repositories."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from smpconv_mm.errors import CheckpointError

from .rules import Report, Rule, rename

_SOURCE = 'a network of the FlexConv or CKConv repository'
END = r'(?P<end>weight|bias)'
NORM = (
    r'(?:layer_norm\.)?'
    r'(?P<end>weight|bias|running_mean|running_var|num_batches_tracked)'
)
_REACHED = 'is a setting, not a weight'


def convert_layer(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the entries of one original CKConv or FlexConv.

    Args:
        state_dict (Mapping[str, Tensor]): ``bias``, ``mask_params``,
            ``train_length``, ``Kernel.*``, ...

    Returns:
        dict[str, Tensor]: Entries of our :class:`~smpconv_mm.layers.CKConv2d`,
        :class:`~smpconv_mm.layers.FlexConv2d` or their relatives.

    Raises:
        CheckpointError: If an entry is not of such a layer.
    """
    out, _ = rename(state_dict, list(_layer_rules(state_dict, '', '')), 'a CKConv')
    return out


def convert_flexconv(
    state_dict: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], Report]:
    """Convert the weights of a classifier.

    Args:
        state_dict (Mapping[str, Tensor]): Weights of the original network: its
            image or sequence ResNet, or its TCN.

    Returns:
        tuple[dict[str, Tensor], Report]: The converted weights, of a
        :class:`~smpconv_mm.models.FlexNet` or :class:`~smpconv_mm.models.FlexTCN` as
        ``backbone``, and what became of each entry.

    Raises:
        CheckpointError: If an entry is not of such a network.
    """
    layers = {
        match[1]: match
        for key in state_dict
        if (match := re.match(r'((?:(?:blocks|backbone)\.(\d+)\.)?cconv([12])\.)', key))
    }
    rules: list[Rule] = []
    norm = 'gn' if any('.layer_norm.' in key for key in state_dict) else 'bn'
    for old, match in layers.items():
        block, number = match[2], match[3]
        new = (
            'backbone.stem.0.smp.'
            if block is None
            else f'backbone.blocks.{block}.conv{number}.smp.'
        )
        rules += _layer_rules(state_dict, old, f'{new}conv.')
        old_norm = re.escape(old.replace('cconv', 'norm'))
        rules.append(Rule(old_norm + NORM, rf'{new}{norm}.\g<end>'))
    rules += [
        Rule(rf'(?:blocks|backbone)\.(?P<n>\d+)\.shortcut\.0\.{END}',
             r'backbone.blocks.\g<n>.shortcut.\g<end>'),
        Rule(rf'(?:out_layer|finallyr)\.{END}', r'head.fc.\g<end>', flat),
    ]  # fmt: skip
    if not layers:
        raise CheckpointError(f'the entries are not of {_SOURCE}: it has no cconv1')
    return rename(state_dict, rules, _SOURCE)


def _layer_rules(
    state_dict: Mapping[str, Tensor], old: str, new: str
) -> Iterator[Rule]:
    """Rules for the entries of one layer, from one prefix to another."""
    prefix = re.escape(old)
    yield Rule(prefix + 'bias', f'{new}bias')
    yield Rule(prefix + 'weight', f'{new}kernel.weight')  # an ordinary convolution
    yield Rule(prefix + 'mask_params', f'{new}kernel.mask_params')
    for name in ('temperature', 'mask_threshold', 'conv_kernel'):
        yield Rule(prefix + name, None, reason=_REACHED)
    yield size_rule(state_dict, old, f'{new}kernel.')
    net, new = prefix + r'Kernel\.', f'{new}kernel.net.'
    yield Rule(rf'{net}linear\.(?P<n>\d+)\.{END}', rf'{new}linears.\g<n>.\g<end>',
               flat)  # fmt: skip
    yield Rule(rf'{net}output_linear\.{END}', rf'{new}output.\g<end>', flat)
    yield Rule(rf'{net}filters\.(?P<n>\d+)\.linear\.{END}',
               rf'{new}filters.\g<n>.linear.\g<end>', flat)  # fmt: skip
    yield Rule(rf'{net}filters\.(?P<n>\d+)\.(?P<end>mu|gamma|theta)',
               rf'{new}filters.\g<n>.\g<end>')  # fmt: skip
    yield from _chain_rules(state_dict, old + 'Kernel.kernel_net.', new)


def size_rule(state_dict: Mapping[str, Tensor], old: str, new: str) -> Rule:
    """Rule for the taps of the training, which may not be known yet."""
    name = re.escape(f'{old}train_length')
    length = state_dict.get(f'{old}train_length')
    if length is None or int(length) == 0:
        return Rule(name, None, reason='no size was set yet')
    ndim = _ndim(state_dict, f'{old}Kernel.')
    return Rule(name, f'{new}_trained_size', lambda v: torch.full((ndim,), int(v)))


def _chain_rules(
    state_dict: Mapping[str, Tensor], old: str, new: str
) -> Iterator[Rule]:
    """Rules for an MLP or SIREN, a chain of layers, norms and activations."""
    linear = set()
    for key, value in state_dict.items():
        if (
            key.startswith(old)
            and re.search(r'\.weight(_v)?$', key)
            and value.dim() > 1
        ):
            linear.add(int(key[len(old) :].split('.')[0]))
    for i, index in enumerate(sorted(linear)):
        prefix = re.escape(f'{old}{index}.')
        to = f'{new}output' if index == max(linear) else f'{new}layers.{i}'
        yield Rule(prefix + END, rf'{to}.\g<end>', flat)
        for end, number in (('g', 0), ('v', 1)):
            yield Rule(f'{prefix}weight_{end}',
                       f'{to}.parametrizations.weight.original{number}',
                       flat)  # fmt: skip
        yield Rule(prefix + 'omega_0', f'{to}.omega_0')
        for place in range(index + 1, min((j for j in linear if j > index), default=0)):
            norm = re.escape(f'{old}{place}.')
            yield Rule(norm + NORM, rf'{new}norms.{i}.\g<end>')


def _ndim(state_dict: Mapping[str, Tensor], prefix: str) -> int:
    """Spatial axes: those of the weight of any point-wise convolution."""
    for key, value in state_dict.items():
        if key.startswith(prefix) and value.dim() > 2:
            return value.dim() - 2
    raise CheckpointError(f'no weights of a kernel below {prefix}: it is not complete')


def flat(value: Tensor) -> Tensor:
    """Drop the axes of a kernel of one tap."""
    if value.dim() < 3:
        return value
    if set(value.shape[2:]) != {1}:
        raise ValueError(f'has shape {tuple(value.shape)}, expected kernels of one tap')
    return value.flatten(1)
