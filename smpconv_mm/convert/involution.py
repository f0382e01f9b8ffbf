"""Checkpoints of the involution and C-volution repositories.

Both are built on OpenMMLab, so that almost every name is the same; what is not of
such a network is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .rules import Report, Rule, rename

_BN = r'(?:weight|bias|running_mean|running_var|num_batches_tracked)'
_INVOLUTION = (
    rf'(?:conv1\.(?:conv\.weight|bn\.{_BN}|0\.(?:weight|bias)|1\.{_BN})'
    r'|conv2\.(?:conv|0)\.(?:weight|bias)|conv_q\.weight)'
)
_CONV = r'(?:conv\.)?(?:weight|bias)'
_RULES = [
    Rule(rf'(backbone\.stem\.[04]\.(?:conv\.weight|bn\.{_BN}))', r'\1'),
    Rule(rf'(backbone\.stem\.(?:1\.{_INVOLUTION}|2\.{_BN}))', r'\1'),
    Rule(
        r'(backbone\.layer\d\.\d+\.(?:conv[13]\.weight|'
        rf'bn[123]\.{_BN}|conv2\.{_INVOLUTION}|downsample\.\d\.{_BN}))',
        r'\1',
    ),
    Rule(r'(head\.fc\.(?:weight|bias))', r'\1'),
    Rule(
        rf'(neck\.(?:lateral|fpn)_convs\.\d\.(?:{_CONV}|{_INVOLUTION}))',
        r'\1',
    ),
    Rule(rf'(rpn_head\.rpn_conv\.(?:{_CONV}|{_INVOLUTION}))', r'\1'),
    Rule(r'(rpn_head\.rpn_(?:cls|reg)\.(?:weight|bias))', r'\1'),
    Rule(rf'(bbox_head\.(?:cls|reg)_convs\.\d\.{_CONV})', r'\1'),
    Rule(r'(bbox_head\.retina_(?:cls|reg)\.(?:weight|bias))', r'\1'),
    Rule(
        r'(roi_head\.bbox_head\.(?:fc_cls|fc_reg|shared_fcs\.\d)\.(?:weight|bias))',
        r'\1',
    ),
    Rule(
        rf'(roi_head\.mask_head\.(?:convs\.\d\.(?:{_CONV}|0\.{_INVOLUTION})'
        r'|(?:upsample|conv_logits)\.(?:weight|bias)))',
        r'\1',
    ),
    Rule(rf'((?:decode|auxiliary)_head\..+\.{_BN})', r'\1'),
]


def convert_involution(
    state_dict: Mapping[str, Tensor], *, head: bool = True
) -> tuple[dict[str, Tensor], Report]:
    """Convert the entries of a classifier, detector or segmenter.

    Args:
        state_dict (Mapping[str, Tensor]): Entries under the names of the original
            repositories (mmcls 0.x, mmdet 2.x, mmseg 0.x).
        head (bool): Keep the head of a classifier. Defaults to True.

    Returns:
        tuple[dict[str, Tensor], Report]: Entries under our names, and what became
        of each.

    Raises:
        CheckpointError: If an entry is not of such a network.
    """
    drop = Rule(r'head\.fc\..*', None, reason='of the classifier')
    rules = _RULES if head else [drop, *_RULES]
    return rename(state_dict, rules, 'RedNet or CedNet')
