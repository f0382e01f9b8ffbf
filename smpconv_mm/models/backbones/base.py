"""What the backbones of this package share."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from smpconv_mm.layers.reparam import check_foldable, switch_to_deploy


class Backbone(BaseBackbone):
    """Inputs that are checked, outputs that are chosen, two forms.

    Args:
        in_channels (int): Channels of the input.
        num_outputs (int): Parts (stages, blocks) whose outputs can be returned.
        ndim (int): 1 for sequences, 2 for images. Defaults to 2.
        out_indices (int | Sequence[int]): Parts whose outputs are returned;
            negative numbers count from the last. Defaults to (-1, ).
        with_cp (bool): Recompute activations in the backward pass to save
            memory. Defaults to False.
        deploy (bool): Built in deploy form: convolutions with bias, kernels that
            are plain weights, no norms after convolutions. Defaults to False.
        init_cfg (dict | list[dict], optional): Defaults to None.

    Raises:
        ValueError: If an argument is wrong.
    """

    def __init__(
        self,
        in_channels: int,
        num_outputs: int,
        *,
        ndim: int = 2,
        out_indices: int | Sequence[int] = (-1,),
        with_cp: bool = False,
        deploy: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if isinstance(out_indices, int):
            out_indices = (out_indices,)
        parsed = tuple(i + num_outputs if i < 0 else i for i in out_indices)
        if not parsed or any(not 0 <= i < num_outputs for i in parsed):
            raise ValueError(
                f'out_indices must name stages of 0..{num_outputs - 1}, got '
                f'{tuple(out_indices)}'
            )
        self.in_channels = in_channels
        self.ndim = ndim
        self.out_indices = parsed
        self.with_cp = with_cp
        self.deploy = deploy

    def check_input(self, x: Tensor) -> None:
        """Raise ``ValueError`` if the shape of an input is wrong."""
        if x.dim() != self.ndim + 2 or x.shape[1] != self.in_channels or 0 in x.shape:
            kind, axes = ('sequences', 'L') if self.ndim == 1 else ('images', 'H, W')
            raise ValueError(
                f'{type(self).__name__} expects {kind} of shape (N, '
                f'{self.in_channels}, {axes}), all at least 1, got {tuple(x.shape)}'
                + (' (an empty batch)' if x.dim() and x.shape[0] == 0 else '')
            )

    def train(self, mode: bool = True) -> Backbone:
        """Set the mode and return the network, which mmpretrain's does not."""
        super().train(mode)
        return self

    def switch_to_deploy(self) -> None:
        """Make kernels plain weights, fold norms, merge branches, in place.

        Raises:
            TypeError: If a norm is not a batch norm.
        """
        if self.deploy:
            return
        check_foldable(self)  # refuse before anything is changed
        for child in self.children():
            switch_to_deploy(child)
        self.deploy = True


def run(module: nn.Module, x: Tensor, with_cp: bool) -> Tensor:
    """Call a module; with ``with_cp`` recompute it in the backward pass."""
    if with_cp and x.requires_grad:
        return checkpoint(module, x, use_reentrant=False)
    return module(x)


def check_stages(num_stages: int, drop_path_rate: float, frozen_stages: int) -> None:
    """Check arguments of backbones with stages.

    Raises:
        ValueError: If one is outside its range.
    """
    check_rates(drop_path_rate=drop_path_rate)
    if not -1 <= frozen_stages <= num_stages:
        raise ValueError(
            f'frozen_stages must lie in -1..{num_stages} for {num_stages} stages, '
            f'got {frozen_stages}'
        )


def check_channels(channels: Sequence[int]) -> None:
    """Refuse channels that are not one positive integer per block.

    Raises:
        ValueError: If they are not.
    """
    if not channels or any(not isinstance(c, int) or c < 1 for c in channels):
        raise ValueError(
            f'channels must be positive integers, one per block, got {channels}'
        )


def check_rates(**rates: float) -> None:
    """Refuse rates, of dropout for example, outside of [0, 1), given by their names.

    Raises:
        ValueError: If a rate lies outside.
    """
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ValueError(f'{name} must lie in [0, 1), got {rate}')
