"""Long kernels that are made again in the backward pass rather than kept."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from .kernel import Kernel

# Numbers in a kernel above which it is not kept (16 MiB)
_LONG = 2**22


def remade(kernel: Kernel | None, weight: Tensor) -> AbstractContextManager:
    """Keep no long kernel of what is computed inside, but what makes it again.

    Args:
        kernel (Kernel, optional): What made the kernel; None in deploy form.
        weight (Tensor): The kernel that it made, or a part of it.

    Returns:
        AbstractContextManager: For the convolution with ``weight``. It does
        nothing for kernels that are short, or not meant to be made twice
        (``remade_in_backward``).
    """
    if (
        kernel is None
        or not kernel.remade_in_backward
        or not weight.requires_grad
        or weight.numel() <= _LONG
        or torch.compiler.is_compiling()
    ):
        return nullcontext()
    storage, dtype = weight.untyped_storage().data_ptr(), weight.dtype
    versions = [p._version for p in kernel.parameters()]

    def pack(saved: Tensor) -> Tensor | tuple:
        if saved.untyped_storage().data_ptr() != storage:
            return saved
        return saved.size(), saved.stride(), saved.storage_offset()

    @torch.no_grad()
    def unpack(kept: Tensor | tuple) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        if versions != [p._version for p in kernel.parameters()]:
            raise RuntimeError(
                'parameters of a kernel were changed in place between the forward '
                'and the backward pass; call backward() before optimizer.step()'
            )
        return kernel().to(dtype).as_strided(*kept)

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)
