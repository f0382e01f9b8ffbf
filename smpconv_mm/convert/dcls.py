"""Layers of the DCLS authors' repository.

K-H-Ismail/Dilated-Convolution-with-Learnable-Spacings-PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from smpconv_mm.errors import CheckpointError

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
    axes = list(reversed(range(len(state_dict['P']))))
    if version == 'v0':
        axes = [0, 2, 1] if len(axes) == 3 else list(range(len(axes)))
    return {
        _NAMES[key]: value[axes] if key in ('P', 'SIG') else value
        for key, value in state_dict.items()
    }
