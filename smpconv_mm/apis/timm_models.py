"""The image classifiers of this package in timm: ``timm.create_model('smpnet_tiny')``.

:func:`register` is called once timm is imported, whichever of the two packages comes
first. Names are those of the published configs: ``smpnet-tiny_4xb256_in1k.py`` is
``smpnet_tiny``, its data the tag ``in1k``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from mmengine.config import Config
from torch import Tensor, nn

from smpconv_mm.compat.mmengine import index_folder
from smpconv_mm.registry import MODELS

_CONFIG = re.compile(r'(.+?)(?:_\d+xb\d+)?_(in1k|in1k-384px|in21k|cifar10)')

# what timm says of the data of a config, besides ImageNet's mean and deviation
_DATA = {
    'in1k': dict(input_size=(3, 224, 224), num_classes=1000, crop_pct=0.875),
    'in1k_384px': dict(input_size=(3, 384, 384), num_classes=1000, crop_pct=1.0),
    'in21k': dict(input_size=(3, 224, 224), num_classes=21841, crop_pct=0.875),
    'cifar10': dict(input_size=(3, 32, 32), num_classes=10, crop_pct=1.0),
}
# CCNN takes those of the images themselves
_CIFAR10 = dict(mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.243, 0.261))


def published() -> dict[str, dict[str, Path]]:
    """Config files by the name and the tag of their model in timm.

    Raises:
        FileNotFoundError: If the package was copied without its configs.
    """
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(index_folder().glob('configs/*/*.py')):
        match = _CONFIG.fullmatch(path.stem)
        if match:
            name, tag = (part.replace('-', '_') for part in match.groups())
            found.setdefault(name, {})[tag] = path
    # the first tag is the one of a name without: in this order
    return {
        name: {tag: tags[tag] for tag in _DATA if tag in tags}
        for name, tags in found.items()
    }


def register() -> None:
    """Put all published classifiers into timm's registry."""
    from timm.models import generate_default_cfgs, register_model

    try:
        models = published()
    except FileNotFoundError as error:  # timm itself works all the same
        warnings.warn(f'smpconv_mm: {error}', stacklevel=2)
        return
    settings = {
        f'{name}.{tag}': dict(
            **_DATA[tag],
            **(_CIFAR10 if name.startswith('ccnn') else {}),
            classifier='head.fc',
        )
        for name, tags in models.items()
        for tag in tags
    }
    # where register_model looks for them
    globals()['default_cfgs'] = generate_default_cfgs(settings)
    for name, tags in models.items():
        register_model(_entrypoint(name, next(iter(tags.values()))))


def _entrypoint(name: str, config: Path) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **kwargs) -> nn.Module:
        from timm.models import build_model_with_cfg

        return build_model_with_cfg(
            partial(TimmClassifier, config),
            name,
            pretrained,
            feature_cfg=dict(feature_cls='getter', out_indices=None),
            **kwargs,
        )

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f'The classifier of {config.name}.'
    return create


class TimmClassifier(nn.Module):
    """A backbone of this package with the interface of timm's classifiers.

    Weights have the names that they have in mmpretrain's classifier, but for the norm
    of the last map; its checkpoints can be loaded all the same.

    Args:
        config (str | Path): Config of a classifier, whose backbone is taken. A
            ``SyncBN`` is built as ``BN``.
        num_classes (int): 0: no classifier, outputs are pooled features. Defaults to
            1000.
        in_chans (int): Channels of the images. Defaults to 3.
        global_pool (str): Kind of pooling, ``'avg'`` or ``'max'``; with ``''`` and
            no classifier, outputs are maps. Defaults to ``'avg'``.
        drop_rate (float): Dropout before the classifier. Defaults to 0.
        **kwargs: Arguments of the backbone in place of those of the config, such as
            ``drop_path_rate`` or ``kernel_cfg``.

    Input: normalised images (N, in_chans, H, W). Output: scores (N, num_classes).
    """

    def __init__(
        self,
        config: str | Path,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__()
        from timm.layers import ClassifierHead, NormMlpClassifierHead

        from smpconv_mm.engine.runner import initialise  # imports mmpretrain

        cfg = Config.fromfile(config)
        arguments = {**cfg.model.backbone, 'in_channels': in_chans, **kwargs}
        arguments.pop('init_cfg', None)  # names files; the default is as published
        if arguments.get('norm_cfg', {}).get('type') == 'SyncBN':
            arguments['norm_cfg'] = dict(type='BN')
        self.backbone = MODELS.build(arguments)
        initialise(self.backbone)
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.feature_info = _feature_info(self.backbone)
        self.num_features = self.head_hidden_size = self.feature_info[-1]['num_chs']

        # Maps of all stages, without norms; that of the last one is kept apart
        last = len(self.feature_info) - 1
        self.backbone.out_indices = tuple(range(last + 1))
        norm: nn.Module = nn.Identity()
        if f'norm{last}' in self.backbone._modules:
            norm = self.backbone._modules[f'norm{last}']
            for i in self.backbone.out_indices:
                setattr(self.backbone, f'norm{i}', nn.Identity())
        kind = ClassifierHead
        pools_first = getattr(self.backbone, 'gap_before_final_norm', False)
        if pools_first:
            self.backbone.gap_before_final_norm = False
            kind = NormMlpClassifierHead
        self.head = kind(
            self.num_features, num_classes, pool_type=global_pool, drop_rate=drop_rate
        )
        self.norm = nn.Identity() if pools_first else norm
        if pools_first:
            self.head.norm = norm
        self._norm_names = (
            f'backbone.norm{last}.',
            'head.norm.' if pools_first else 'norm.',
        )
        self._register_load_state_dict_pre_hook(self._rename)
        rules = cfg.optim_wrapper.get('paramwise_cfg', {}).get('custom_keys', {})
        self._undecayed = [
            k for k, rule in rules.items() if rule.get('decay_mult') == 0
        ]

    def _rename(self, state_dict: dict[str, Tensor], *args) -> None:
        """Rename the norm in a state dict of mmpretrain's classifier."""
        old, new = self._norm_names
        for key in [key for key in state_dict if key.startswith(old)]:
            state_dict[new + key.removeprefix(old)] = state_dict.pop(key)

    def _maps(self, x: Tensor) -> tuple[Tensor, ...]:
        if self.training:
            self._keep_kernels_in_bounds()
        return self.backbone(x)

    def _keep_kernels_in_bounds(self) -> None:
        """Timm has no hook after a step of the optimiser: this is before the next."""
        from smpconv_mm.layers import Kernel  # imports mmcv

        for module in self.backbone.modules():
            if isinstance(module, Kernel):
                module.after_step()

    def train(self, mode: bool = True) -> TimmClassifier:
        """Set the mode."""
        if self.training and not mode:
            self._keep_kernels_in_bounds()
        return super().train(mode)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last map, (N, num_features, ~H / reduction, ~W / reduction)."""
        return self.norm(self._maps(x)[-1])

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """From the last map to scores, or with ``pre_logits`` to pooled features."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) to (N, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Maps of some stages, as timm's networks give them.

        Args:
            x (Tensor): Images (N, in_chans, H, W).
            indices (int | Sequence[int], optional): Stages; a number: the last ones.
                Defaults to None: all.
            norm (bool): Normalise the last map. Defaults to False.
            stop_early (bool): Changes nothing: all stages are computed.
            output_fmt (str): ``'NCHW'``.
            intermediates_only (bool): Defaults to False.

        Returns:
            list[Tensor] | tuple[Tensor, list[Tensor]]: The maps, or the output of
            :meth:`forward_features` and the maps.

        Raises:
            ValueError: If another format is asked for.
        """
        if output_fmt != 'NCHW':
            raise ValueError(f"output_fmt must be 'NCHW', got {output_fmt!r}")
        taken = self._taken(indices)
        maps = list(self._maps(x))
        final = self.norm(maps[-1])
        if norm:
            maps[-1] = final
        chosen = [maps[i] for i in taken]
        return chosen if intermediates_only else (final, chosen)

    def prune_intermediate_layers(
        self,
        indices: int | Sequence[int] | None = None,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Remove the head, and the norm, which maps of stages do not need.

        Returns:
            list[int]: The stages, counted from the first.
        """
        if prune_norm:
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0, '')
        return self._taken(indices)

    def _taken(self, indices: int | Sequence[int] | None) -> list[int]:
        stages = range(len(self.feature_info))
        if indices is None:
            return list(stages)
        if isinstance(indices, int):
            return list(stages[-indices:])
        return [stages[i] for i in indices]

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.head.fc

    def reset_classifier(
        self, num_classes: int, global_pool: str | None = None
    ) -> None:
        """Replace the last linear layer; with 0 classes, remove it."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass to save memory."""
        for module in self.backbone.modules():
            if hasattr(module, 'with_cp'):
                module.with_cp = enable

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters of kernels that do not decay, such as positions."""
        return {
            name
            for name, _ in self.named_parameters()
            if any(key in name for key in self._undecayed)
        }


def _feature_info(backbone: nn.Module) -> list[dict]:
    """Channels and stride of each stage, and the name of its module."""
    if hasattr(backbone, 'res_layers'):  # a ResNet
        names = backbone.res_layers
        channels = [backbone.get_submodule(name)[-1].out_channels for name in names]
    else:
        part = 'stages' if hasattr(backbone, 'stages') else 'blocks'
        channels = backbone.channels
        names = [f'{part}.{i}' for i in range(len(channels))]
    staged = not hasattr(backbone, 'blocks')  # others keep the size of the image
    return [
        dict(
            num_chs=width,
            reduction=2 ** (i + 2) if staged else 1,
            module=f'backbone.{name}',
        )
        for i, (width, name) in enumerate(zip(channels, names))
    ]
