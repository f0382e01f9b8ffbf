"""Learning rates that decay with the depth of a layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from torch import nn

from smpconv_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS


# mmpretrain's constructor asks the whole model for depths, which detectors and
# segmenters do not know, and ignores lr_mult, which radii need. mmdet's and
# mmseg's know the names of ConvNeXt and BEiT alone.
@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(LearningRateDecayOptimWrapperConstructor):
    """mmpretrain's layer-wise decay, for any model with a ``backbone``.

    ``layer_decay_rate``, ``norm_decay_mult``, ``bias_decay_mult``,
    ``flat_decay_mult`` and ``custom_keys`` of ``paramwise_cfg`` mean what they
    do in mmpretrain; ``lr_mult`` of a custom key is applied on top of the decay.

    Raises:
        NotImplementedError: If neither the model nor its backbone has a method
            ``get_layer_depth``.
    """

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        get_layer_depth: Callable | None = None,
        **kwargs,
    ) -> None:
        """Add the parameters of a module to ``params``, a group each."""
        backbone = getattr(module, 'backbone', None)
        if not prefix and hasattr(backbone, 'get_layer_depth'):
            get_layer_depth = partial(backbone.get_layer_depth, prefix='backbone.')
        super().add_params(params, module, prefix, get_layer_depth, **kwargs)
        if not prefix:
            for group in params:
                group['lr'] *= group.pop('lr_mult', 1.0)
