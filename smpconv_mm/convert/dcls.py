"""Layers and networks of the DCLS authors' repositories.

K-H-Ismail/Dilated-Convolution-with-Learnable-Spacings-PyTorch and
K-H-Ismail/ConvNeXt-dcls.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from smpconv_mm.errors import CheckpointError

from .convnext import NEW, convnext_rules
from .rules import Report, Rule, rename

_NAMES = {
    'weight': 'kernel.weight',
    'P': 'kernel.position',
    'SIG': 'kernel.width',
    'bias': 'bias',
}


def convert_layer(state_dict: Mapping[str, Tensor], version: str) -> dict[str, Tensor]:
    """Rename the entries of one original layer to those of a ``DCLSConv``.

    Positions come in another order of the axes: the original moves along the last axis
    first, but with ``v0`` along (rows, columns) or (depth, columns, rows).

    Args:
        state_dict (Mapping[str, Tensor]): ``weight``, ``P``, and where there are any
            ``SIG`` and ``bias``, of a layer with sides of one length: the original
            shifts positions by the wrong axis otherwise.
        version (str): ``'v0'``, ``'v1'``, ``'max'`` or ``'gauss'``.

    Returns:
        dict[str, Tensor]: Entries that load strictly into a
        :class:`~smpconv_mm.layers.DCLSConv2d` of that version, with ``kernel_size``
        and ``n_points`` of the original.

    Raises:
        CheckpointError: If entries are missing or unknown.
    """
    needed = {'weight', 'P'} | ({'SIG'} if version in ('max', 'gauss') else set())
    missing = needed - set(state_dict)
    unknown = set(state_dict) - needed - {'bias'}
    if missing or unknown:
        raise CheckpointError(
            f'not a DCLS layer of version {version!r}: missing {sorted(missing)}, '
            f'unknown {sorted(unknown)}'
        )
    return {
        _NAMES[key]: _reordered(value, version) if key in ('P', 'SIG') else value
        for key, value in state_dict.items()
    }


def convert_dcls(
    state_dict: Mapping[str, Tensor], version: str = 'v0', *, classifier: bool = True
) -> tuple[dict[str, Tensor], Report]:
    """Convert the weights of a ConvNeXt-dcls, or of its backbone for other tasks.

    Args:
        state_dict (Mapping[str, Tensor]): Weights of the original network.
        version (str): Of its layers. Defaults to ``'v0'``, of the published networks.
        classifier (bool): The network that they are for is a classifier. Else the
            head and the norm before it are dropped. Defaults to True.

    Returns:
        tuple[dict[str, Tensor], Report]: The converted weights, of a
        :class:`~smpconv_mm.models.DCLSConvNeXt` as ``backbone``, and what became of
        each entry.

    Raises:
        CheckpointError: If an entry is not of such a network.
    """
    stages = 1 + max(
        (int(k.split('.')[1]) for k in state_dict if k.startswith('stages.')), default=0
    )
    block = r'(?P<block>stages\.\d+\.\d+\.)dwconv'
    kernel = rf'{NEW}\g<block>depthwise_conv.kernel'
    rules = [
        Rule(rf'{block}\.weight', f'{kernel}.weight'),
        Rule(rf'{block}\.P', f'{kernel}.position', lambda v: _reordered(v, version)),
        Rule(rf'{block}\.SIG', f'{kernel}.width', lambda v: _reordered(v, version)),
    ]
    source = 'a ConvNeXt-dcls'
    return rename(state_dict, rules + convnext_rules(stages, classifier), source)


def _reordered(positions: Tensor, version: str) -> Tensor:
    """Axes in the order of the taps."""
    axes = list(reversed(range(len(positions))))
    if version == 'v0':
        axes = [0, 2, 1] if len(axes) == 3 else list(range(len(axes)))
    return positions[axes]
