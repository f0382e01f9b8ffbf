"""Parameters and operations of a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from smpconv_mm.layers import keep_kernels
from smpconv_mm.ops import use_backend


@dataclass
class Complexity:
    """What one forward pass of one image costs.

    Attributes:
        parameters (int): Number of parameters.
        macs (dict[str, int]): Multiply-adds of convolutions and matrix
            products, by top-level module of the model.
        kernel_macs (int): Multiply-adds of making the kernels, with all points at
            all positions: once a forward pass, whatever the batch; never in deploy
            form or where kernels are kept
            (:func:`~smpconv_mm.layers.keep_kernels`). Less is done where points
            touch few positions.
    """

    parameters: int
    macs: dict[str, int]
    kernel_macs: int

    @property
    def total(self) -> int:
        """Multiply-adds without those for making kernels."""
        return sum(self.macs.values())


@torch.no_grad()
def measure(model: nn.Module, shape: tuple[int, ...]) -> Complexity:
    """Count parameters and multiply-adds.

    Norms, activations, pooling and additions are not counted, as in the
    published figures of SMPConv. torch's counter says two operations for one
    multiply-add; here it is one.

    Args:
        model (nn.Module): A classifier, detector or segmenter (called with
            ``mode='tensor'``), or any module that takes one tensor.
        shape (tuple[int, ...]): Shape of one input without the batch.
    """
    from mmengine.model import BaseModel
    from mmengine.structures import BaseDataElement

    device = next(model.parameters()).device
    inputs = torch.zeros(1, *shape, device=device)
    kwargs = {}
    if isinstance(model, BaseModel):
        size = shape[1:]  # a detector asks for it, to cut its boxes
        meta = dict(img_shape=size, ori_shape=size, batch_input_shape=size)
        sample = BaseDataElement(metainfo=dict(meta, scale_factor=(1.0, 1.0)))
        kwargs = dict(mode='tensor', data_samples=[sample])
    model.eval()

    def count() -> dict[str, int]:
        counter = FlopCounterMode(display=False, depth=2)
        with counter, use_backend('smp_kernel', 'dense'):
            model(inputs, **kwargs)
        return {
            name: sum(ops.values()) // 2
            for name, ops in counter.get_flop_counts().items()
        }

    first = count()
    with keep_kernels(model):
        second = count()
    parts = {
        name: value
        for name, value in second.items()
        if name != 'Global' and '.' in name and value
    }
    return Complexity(
        parameters=sum(p.numel() for p in model.parameters()),
        macs=_outermost(parts, second['Global']),
        kernel_macs=first['Global'] - second['Global'],
    )


def _outermost(parts: dict[str, int], total: int) -> dict[str, int]:
    """Counts of the modules right below the model; the rest as ``(other)``."""
    depth = min((name.count('.') for name in parts), default=0)
    own = {
        name.split('.', 1)[1]: value
        for name, value in parts.items()
        if name.count('.') == depth
    }
    rest = total - sum(own.values())
    return {**own, '(other)': rest} if rest else own
