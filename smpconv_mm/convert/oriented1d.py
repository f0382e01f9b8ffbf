"""Checkpoints of the Oriented1D authors' repository (princeton-vl/Oriented1D)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from .convnext import NEW, convnext_rules, rules_of_ours
from .rules import Report, Rule, rename

_SOURCE = 'a ConvNeXt of the Oriented1D repository'
_END = r'(?P<end>weight|bias)'


def convert_oriented1d(
    state_dict: Mapping[str, Tensor],
    shapes: Mapping[str, torch.Size] | None = None,
    *,
    classifier: bool = True,
) -> tuple[dict[str, Tensor], Report]:
    """Convert the weights of a classifier, or of a backbone for other tasks.

    Args:
        state_dict (Mapping[str, Tensor]): Weights of the original network, or of a
            classifier of this package.
        shapes (Mapping[str, torch.Size], optional): Shapes of the entries of the
            network that they are for. Taps are cut, or filled up with zeros, on both
            sides to the number there. Defaults to None: they stay.
        classifier (bool): The network that they are for is a classifier. Else the
            head and the norm before it are dropped. Defaults to True.

    Returns:
        tuple[dict[str, Tensor], Report]: The converted weights, of an
        :class:`~smpconv_mm.models.OrientedConvNeXt` as ``backbone``, and what became
        of each entry.

    Raises:
        CheckpointError: If an entry is not of such a network.
    """
    stages = [int(k.split('.')[1]) for k in state_dict if k.startswith('stages.')]
    oriented = {
        key.removesuffix('theta').removesuffix('.conv.').removesuffix('.')
        for key in state_dict
        if key.endswith('.theta')
    }
    if any(key.startswith(NEW) for key in state_dict):
        rules = rules_of_ours(classifier)
    else:
        rules = _rules(oriented, max(stages, default=0), classifier)
    out, report = rename(state_dict, rules, _SOURCE)
    for name, value in out.items():
        if shapes and name in shapes and name.endswith('.kernel.weight'):
            before, after = value.shape[-1], shapes[name][-1]
            if before != after:
                out[name] = _with_taps(value, after)
                what = 'cut' if after < before else 'filled up with zeros'
                report.changed[name] = f'{what} from {before} to {after} taps'
    return out, report


def _rules(oriented: set[str], last: int, classifier: bool) -> list[Rule]:
    stem, block = r'downsample_layers\.0\.', r'(?P<block>stages\.\d+\.\d+\.)'
    rules = []
    for old in sorted(oriented):
        parent, _, name = old.rpartition('.')
        if name not in _NAMES:
            continue  # is reported as unknown
        new = f'{NEW}{parent}.{_NAMES[name]}'
        prefix = re.escape(old) + r'\.(?:conv\.)?'
        rules += [
            Rule(prefix + 'weight', f'{new}.kernel.weight'),
            Rule(
                prefix + 'theta', f'{new}.kernel.angle', lambda v: v.float().flatten()
            ),
            Rule(prefix + 'bias', f'{new}.bias'),
        ]
    rules += [
        Rule(rf'{stem}pw(?P<n>[12])\.{_END}',
             rf'{NEW}downsample_layers.0.pointwise_conv\g<n>.\g<end>'),
        Rule(rf'(?P<name>{stem}norm[123]\.{_END})', rf'{NEW}\g<name>'),
        Rule(rf'{block}dwconv1\.{_END}', rf'{NEW}\g<block>depthwise_conv.\g<end>'),
    ]  # fmt: skip
    return [*rules, *convnext_rules(last + 1, classifier)]


_NAMES = {
    'dw1': 'depthwise_conv1',
    'dw2': 'depthwise_conv2',
    'dwconv': 'depthwise_conv',
    'dwconv1': 'depthwise_conv',
    'dwconv2': 'middle_conv',
}


def _with_taps(weight: Tensor, taps: int) -> Tensor:
    """Cut taps, or add zeros, on both sides."""
    less = (weight.shape[-1] - taps) // 2
    return F.pad(weight, (-less, -less)).contiguous()
