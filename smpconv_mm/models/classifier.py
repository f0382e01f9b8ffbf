"""A classifier whose loss has terms of its kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmpretrain.models import ImageClassifier
from torch import Tensor, nn

from smpconv_mm.layers import Kernel, KernelConv
from smpconv_mm.registry import MODELS


@MODELS.register_module()
class KernelRegularizedClassifier(ImageClassifier):
    """mmpretrain's classifier, with penalties on kernels added to its loss.

    Args:
        *args: Of mmpretrain's ``ImageClassifier``, also by name.
        kernel_losses (Sequence[dict]): Registered modules such as
            :class:`~smpconv_mm.models.AliasingLoss`. They take a dict from
            layers to the kernels that these made for the batch, and the classifier,
            and return a number; ``name`` is how it is logged.
        **kwargs: Of ``ImageClassifier``.
    """

    def __init__(self, *args, kernel_losses: Sequence[dict], **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.kernel_losses = nn.ModuleList(map(MODELS.build, kernel_losses))

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of the head, and of the kernels."""
        with _made_kernels(self) as kernels:
            losses = super().loss(inputs, data_samples)
        for term in self.kernel_losses:
            losses[term.name] = term(kernels, self)
        return losses


@contextmanager
def _made_kernels(model: nn.Module) -> Iterator[dict[KernelConv, Tensor]]:
    """Collect the kernels that are made inside, so that none is made twice."""
    owners = {m.kernel: m for m in model.modules() if isinstance(m, KernelConv)}
    kernels: dict[KernelConv, Tensor] = {}

    def collect(kernel: Kernel, _, made: Tensor) -> None:
        kernels[owners[kernel]] = made

    hooks = [
        kernel.register_forward_hook(collect) for kernel in owners if kernel is not None
    ]
    try:
        yield kernels
    finally:
        for hook in hooks:
            hook.remove()
