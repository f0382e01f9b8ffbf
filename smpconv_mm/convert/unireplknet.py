"""Networks of the UniRepLKNet authors' repository (AILab-CVC/UniRepLKNet)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from .convnext import NEW, convnext_rules, rules_of_ours
from .rules import Report, Rule, rename

_BN = r'(?P<end>weight|bias|running_mean|running_var|num_batches_tracked)'
_END = r'(?P<end>weight|bias)'
_BLOCK = r'(?P<block>stages\.\d+\.\d+\.)'
_DEPTHWISE = rf'{NEW}\g<block>depthwise_conv.'
_BRANCHES = rf'{_DEPTHWISE}branches.'
_LARGE_KERNELS = [
    Rule(rf'{_BLOCK}dwconv\.lk_origin\.weight', f'{_BRANCHES}large.conv.weight'),
    Rule(rf'{_BLOCK}dwconv\.origin_bn\.{_BN}', rf'{_BRANCHES}large.bn.\g<end>'),
    Rule(rf'{_BLOCK}dwconv\.dil_conv_(?P<name>k\d+_\d+)\.weight',
         rf'{_BRANCHES}\g<name>.conv.weight'),
    Rule(rf'{_BLOCK}dwconv\.dil_bn_(?P<name>k\d+_\d+)\.{_BN}',
         rf'{_BRANCHES}\g<name>.bn.\g<end>'),
]  # fmt: skip
_MERGED = [Rule(rf'{_BLOCK}dwconv\.lk_origin\.{_END}', rf'{_DEPTHWISE}conv.\g<end>')]


def convert_unireplknet(
    state_dict: Mapping[str, Tensor], *, classifier: bool = True
) -> tuple[dict[str, Tensor], Report]:
    """Convert the weights of a classifier, or of a backbone for other tasks.

    Args:
        state_dict (Mapping[str, Tensor]): Weights of the original network, in
            training or in deploy form, or of a classifier of this package.
        classifier (bool): The network that they are for is a classifier. Else the
            head and the norm before it are dropped. Defaults to True.

    Returns:
        tuple[dict[str, Tensor], Report]: The converted weights, of a
        :class:`~smpconv_mm.models.UniRepLKNet` in the same form as ``backbone``, and
        what became of each entry.

    Raises:
        CheckpointError: If an entry is not of such a network.
    """
    # the second norm of each block, of which deploy form has none
    deploy = not any(re.search(r'\.(pwconv2\.2|out_norm)\.', k) for k in state_dict)
    if any(key.startswith(NEW) for key in state_dict):
        rules = rules_of_ours(classifier)
    else:
        rules = _rules(state_dict, deploy, classifier)
    out, report = rename(state_dict, rules, 'a UniRepLKNet')
    report.deploy = deploy
    return out, report


def _rules(
    state_dict: Mapping[str, Tensor], deploy: bool, classifier: bool
) -> list[Rule]:
    stages = [int(k.split('.')[1]) for k in state_dict if k.startswith('stages.')]
    return [
        *(_MERGED if deploy else _LARGE_KERNELS),
        # the stem is longer than that of ConvNeXt
        Rule(rf'(?P<name>downsample_layers\.0\.[34]\.{_END})', rf'{NEW}\g<name>'),
        Rule(rf'{_BLOCK}norm\.{_BN}', rf'{NEW}\g<block>norm.\g<end>'),
        Rule(rf'{_BLOCK}se\.down\.{_END}', rf'{NEW}\g<block>se.conv1.conv.\g<end>'),
        Rule(rf'{_BLOCK}se\.up\.{_END}', rf'{NEW}\g<block>se.conv2.conv.\g<end>'),
        Rule(rf'{_BLOCK}pwconv1\.1\.{_END}', rf'{NEW}\g<block>pointwise_conv1.\g<end>'),
        Rule(rf'{_BLOCK}act\.1\.(?P<end>gamma|beta)', rf'{NEW}\g<block>grn.\g<end>'),
        Rule(rf'{_BLOCK}pwconv2\.0\.{_END}', rf'{NEW}\g<block>pointwise_conv2.\g<end>'),
        Rule(rf'{_BLOCK}pwconv2\.2\.{_BN}', rf'{NEW}\g<block>out_norm.\g<end>'),
        *convnext_rules(max(stages, default=0) + 1, classifier),
    ]
