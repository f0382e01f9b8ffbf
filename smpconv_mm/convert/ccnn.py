"""Checkpoints of the CCNN repository (david-knigge/ccnn)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from smpconv_mm.errors import CheckpointError

from .flexconv import END, NORM, flat, size_rule
from .rules import Report, Rule, rename

_SOURCE = 'a network of the CCNN repository'


def convert_layer(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the entries of one original FlexConv or CKConv.

    Args:
        state_dict (Mapping[str, Tensor]): ``bias``, ``mask_width_param``,
            ``Kernel.*``, ... of a layer that has been used once.

    Returns:
        dict[str, Tensor]: Of a separable layer (it has a ``channel_mixer.weight``) the
        entries of a :class:`~smpconv_mm.layers.SeparableConv`; of a dense one those of
        a :class:`~smpconv_mm.layers.KernelConv1d` or ``2d``. The kernel is a
        :class:`~smpconv_mm.layers.CCNNKernel`, without a mask a
        :class:`~smpconv_mm.layers.CKKernel`.

    Raises:
        CheckpointError: If an entry is not of such a layer.
    """
    out, _ = rename(state_dict, list(_layer_rules(state_dict, '', '')), 'a CCNN layer')
    return out


def convert_ccnn(
    state_dict: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], Report]:
    """Convert the weights of a classifier of sequences or images.

    Args:
        state_dict (Mapping[str, Tensor]): Weights of the original network, its names
            with ``network.`` before them or without; of pre-norm S4 blocks, as all
            published ones.

    Returns:
        tuple[dict[str, Tensor], Report]: The converted weights, of a
        :class:`~smpconv_mm.models.CCNN` as ``backbone``, and what became of each
        entry.

    Raises:
        CheckpointError: If an entry is not of such a network, or the network was never
            used: only then are its initial weights scaled.
    """
    root = 'network.' if 'network.conv1.bias' in state_dict else ''
    layers = [
        match[0]
        for key in state_dict
        if (match := re.match(rf'{re.escape(root)}(?:blocks\.\d+\.)?conv1\.', key))
    ]
    if not layers:
        raise CheckpointError(f'the entries are not of {_SOURCE}: it has no conv1')
    prefix = re.escape(root)
    block = rf'{prefix}blocks\.(?P<n>\d+)\.'
    new_block = r'backbone.blocks.\g<n>.'
    rules = [
        Rule(rf'{prefix}norm1\.{NORM}', r'backbone.stem.pointwise_conv.bn.\g<end>'),
        Rule(rf'{block}norm1\.{NORM}', rf'{new_block}norm.\g<end>'),
        Rule(rf'{block}linear1\.{END}', rf'{new_block}linear.conv.\g<end>'),
        Rule(rf'{block}shortcut\.0\.{END}', rf'{new_block}shortcut.conv.\g<end>'),
        Rule(rf'{prefix}out_norm\.{NORM}', r'backbone.norm.\g<end>'),
        Rule(rf'{prefix}out_layer\.{END}', r'head.fc.\g<end>', flat),
    ]
    for old in dict.fromkeys(layers):
        place = old.removeprefix(root).replace('conv1.', '')
        new = f'backbone.{place}conv.' if place else 'backbone.stem.'
        rules += _layer_rules(state_dict, old, new)
    return rename(state_dict, rules, _SOURCE)


def _layer_rules(
    state_dict: Mapping[str, Tensor], old: str, new: str
) -> Iterator[Rule]:
    """Rules for the entries of one layer, from one prefix to another."""
    prefix = re.escape(old)
    depthwise = new
    if f'{old}channel_mixer.weight' in state_dict:
        depthwise = f'{new}depthwise_conv.'
        mixer = rf'{new}pointwise_conv.conv.\g<end>'
        yield Rule(rf'{prefix}channel_mixer\.{END}', mixer)
    kernel = f'{depthwise}kernel.'
    yield Rule(prefix + 'bias', f'{depthwise}bias')
    yield Rule(rf'{prefix}mask_(?P<what>width|mean)_param', rf'{kernel}mask_\g<what>')
    for name in ('mask_threshold', 'conv_kernel'):
        yield Rule(prefix + name, None, reason='is a setting, not a weight')
    # files of before 2025 do not have it; theirs have been used, too
    yield Rule(
        prefix + 'initialized', None, _used, 'the weights were scaled at the first use'
    )
    yield size_rule(state_dict, old, kernel)
    net, new = prefix + r'Kernel\.', f'{kernel}net.'
    yield Rule(rf'{net}linears\.(?P<n>\d+)\.{END}', rf'{new}linears.\g<n>.\g<end>',
               flat)  # fmt: skip
    yield Rule(rf'{net}output_linear\.{END}', rf'{new}output.\g<end>', flat)
    yield Rule(rf'{net}filters\.(?P<n>\d+)\.linear\.{END}',
               rf'{new}filters.\g<n>.linear.\g<end>', flat)  # fmt: skip
    yield Rule(rf'{net}filters\.(?P<n>\d+)\.(?P<end>mu|gamma)',
               rf'{new}filters.\g<n>.\g<end>')  # fmt: skip
    # sines: every second module is an activation
    found = (re.match(rf'{net}kernel_net\.(\d+)\.', key) for key in state_dict)
    for number, index in enumerate(sorted({int(m[1]) for m in found if m})):
        yield Rule(rf'{net}kernel_net\.{index}\.(?P<end>weight|bias|omega_0)',
                   rf'{new}layers.{number}.\g<end>', flat)  # fmt: skip


def _used(initialized: Tensor) -> Tensor:
    if not bool(initialized.all()):
        raise ValueError(
            'is False: the layer was never used, and its weights are not scaled yet; '
            'run the original network once and save it again'
        )
    return initialized
