"""Kernels that are made once for many inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .kernel_conv import KernelConv


@contextmanager
def keep_kernels(model: nn.Module) -> Iterator[None]:
    """Make all kernels of a network once, for many inputs.

    A network in training form makes its kernels at every call, so that they are
    those of its present parameters. Inside of this block they are made once, at
    the beginning, and serve all calls in eval mode without gradients::

        model.eval()
        with torch.no_grad(), keep_kernels(model):
            for image in images:
                model(image)

    Args:
        model (nn.Module): Any network, in eval mode. Its parameters must stay
            as they are until the end of the block.

    Raises:
        RuntimeError: At the end of the block, if a kernel is no longer what it was
            at the beginning: results inside were those of the old one.
    """
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, KernelConv)
        and not module.training
        and module.kernel is not None
        and module._kept is None
    }
    try:
        with torch.no_grad():
            for layer in layers.values():
                layer._kept = layer.kernel().clone()
        yield
        for name, layer in layers.items():
            if layer._kept is not None and not _equal(layer.make_kernel(), layer._kept):
                raise RuntimeError(
                    f'the parameters of {name or "the layer"} changed inside of '
                    'keep_kernels(), where results are those of the kernels from its '
                    'beginning; change parameters outside'
                )
    finally:
        for layer in layers.values():
            layer._kept = None


@torch.no_grad()
def _equal(one: Tensor, two: Tensor) -> bool:
    """Equal but for rounding, which differs from call to call on a GPU."""
    if (one.shape, one.device) != (two.shape, two.device):
        return False
    if one.is_meta:  # without numbers
        return True
    scale = float(two.abs().max().nan_to_num())
    return torch.allclose(one, two.to(one), rtol=0, atol=1e-4 * scale, equal_nan=True)
