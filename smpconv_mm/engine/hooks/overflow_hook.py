"""Name the layer whose activations are too large for the numbers they are kept in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from smpconv_mm.registry import HOOKS


@dataclass
class Overflow:
    """The first layer whose output is not finite.

    Attributes:
        name (str): Its name in the model.
        kind (str): Its class.
        dtype (torch.dtype): Of its output.
        largest (float): The largest magnitude in its inputs, which may be infinite
            or NaN itself; 0 without inputs.
    """

    name: str
    kind: str
    dtype: torch.dtype
    largest: float


@torch.no_grad()
def find_overflow(model: nn.Module, run: Callable[[], object]) -> Overflow | None:
    """Find the first layer whose output is infinite or NaN.

    Buffers, such as the statistics of batch norms, are left as they were.

    Args:
        model (nn.Module): Any network.
        run (Callable): Calls it.

    Returns:
        Overflow | None: None if all outputs are finite.
    """
    found: list[Overflow] = []

    def watch(name):
        def hook(module, args, output):
            outputs = _tensors(output)
            if found or all(tensor.isfinite().all() for tensor in outputs):
                return
            largest = [float(t.abs().max()) for t in _tensors(args) if t.numel()]
            found.append(
                Overflow(
                    name,
                    type(module).__name__,
                    outputs[0].dtype,
                    max(largest, default=0.0),
                )
            )

        return hook

    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    handles = [m.register_forward_hook(watch(n)) for n, m in model.named_modules()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
        for name, buffer in model.named_buffers():
            buffer.copy_(before[name])
    return found[0] if found else None


def _tensors(values: object) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values] if values.is_floating_point() else []
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, (tuple, list)):
        return [tensor for value in values for tensor in _tensors(value)]
    return []


@HOOKS.register_module()
class OverflowHook(Hook):
    """Say which layer made the loss infinite or NaN.

    Made for networks whose activations have no bound, such as those with C-volutions
    in float16, whose largest number is 65504. At the first loss that is not finite the
    batch goes through the network once more, in the same precision, and a warning
    names the first layer whose output is not finite. Until then nothing is computed.

    Where the weights have become NaN by the same step, as without a scaled loss, the
    layer named is the first of them.
    """

    priority = 'VERY_HIGH'  # before a hook that ends the training

    def __init__(self) -> None:
        self._told = False

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Look at the losses of an iteration."""
        if self._told or all(
            tensor.isfinite().all() for tensor in _tensors(outputs or {})
        ):
            return
        self._told = True
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model

        def run():
            with runner.optim_wrapper.optim_context(model):
                data = model.data_preprocessor(data_batch, True)
                model(**data, mode='loss')

        found = find_overflow(model, run)
        if found is None:
            what = 'no layer does so when the batch is repeated'
        else:
            what = (
                'the first layer whose output is not finite is '
                f'{found.name or "the model"} ({found.kind}, {found.dtype}); its '
                f'inputs reach {found.largest:.3g}'
            )
        runner.logger.warning(
            f'iteration {runner.iter + 1}: the loss is not finite; {what}. Train in '
            'bfloat16 (--amp bfloat16) or float32, or lower the learning rate'
        )
