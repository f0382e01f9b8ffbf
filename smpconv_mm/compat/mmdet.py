"""Where bfloat16 has to end in a detector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# what mmdet calls the parts whose outputs become boxes, scores and crops
_PARTS = ('neck', 'rpn_head', 'bbox_head', 'mask_head')


def hand_on_float32(model: nn.Module) -> None:
    """Let neck and heads hand on float32 what they computed in bfloat16.

    mmcv's RoIAlign, NMS and focal loss have no bfloat16, on CPUs nor on GPUs, and
    its eight bits would move boxes by pixels. Other outputs stay as they are.

    Args:
        model (nn.Module): A detector of mmdet, or what wraps one.
    """
    for name, module in model.named_modules():
        *_, parent, own = ['', *name.split('.')]
        if own in _PARTS or (own.isdigit() and parent in _PARTS):  # of a cascade
            module.register_forward_hook(lambda module, args, out: _float32(out))


def _float32(out: object) -> object:
    if isinstance(out, Tensor):
        return out.float() if out.dtype == torch.bfloat16 else out
    if isinstance(out, (list, tuple)):
        return type(out)(_float32(part) for part in out)
    return out
