"""What is in a checkpoint: does it fit a model, can a training go on from it?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from smpconv_mm.errors import CheckpointError

from .files import check_entries, load


def in_deploy_form(checkpoint: Mapping) -> bool:
    """Whether a checkpoint is of a network in deploy form."""
    return bool((checkpoint.get('meta') or {}).get('deploy'))


def check_resumable(checkpoint: Mapping, path: str | Path) -> None:
    """Raise if a training cannot go on from a checkpoint as if it had not stopped.

    Raises:
        CheckpointError: If it lacks the state of the optimiser, or the epoch and
            iteration that had ended.
    """
    meta = checkpoint.get('meta') or {}
    lacking = [
        key
        for key in ('optimizer', 'message_hub')
        if not isinstance(checkpoint.get(key), Mapping) or not checkpoint[key]
    ]
    state = checkpoint.get('optimizer') or {}
    if 'state' in state and 'param_groups' not in state:
        lacking.append('optimizer.param_groups')
    if lacking or 'epoch' not in meta or 'iter' not in meta:
        lacking += [f'meta.{key}' for key in ('epoch', 'iter') if key not in meta]
        raise CheckpointError(
            f'checkpoint {path} holds weights but not all that is needed to resume '
            f'({", ".join(lacking)} missing, as in best_*.pth). Resume from an '
            'epoch_*.pth or iter_*.pth, or start a new training from these weights: '
            f'--cfg-options load_from={path}, without --resume'
        )
    for key in ('epoch', 'iter'):
        if not isinstance(meta[key], int) or meta[key] < 0:
            raise CheckpointError(
                f'checkpoint {path}: meta.{key} is {meta[key]!r}, expected how many '
                'have ended, from 0'
            )


def state_dict_of(checkpoint: Mapping) -> dict:
    """The model's entries of a checkpoint, without a ``module.`` prefix.

    Raises:
        CheckpointError: If they are not named tensors.
    """
    state_dict = checkpoint.get('state_dict', checkpoint)
    check_entries(state_dict, '')
    return {
        key.removeprefix('module.'): value
        for key, value in state_dict.items()
        if isinstance(value, torch.Tensor)
    }


def adapted_shapes(model: nn.Module, state_dict: Mapping) -> dict[str, torch.Size]:
    """Entries that take over their shape from a state dict when it is loaded.

    Modules with a method ``shapes_for(state_dict, prefix)`` say which: SMP
    kernels for their number of points, layers in deploy form for their taps.
    """
    shapes = {}
    for name, module in model.named_modules():
        if hasattr(module, 'shapes_for'):
            prefix = f'{name}.' if name else ''
            for key, shape in module.shapes_for(state_dict, prefix).items():
                if getattr(module, key).shape != shape:
                    shapes[prefix + key] = shape
    return shapes


def shapes_of(model: nn.Module) -> dict[str, torch.Size]:
    """Shapes of the entries of a model's state dict."""
    return {key: value.shape for key, value in model.state_dict().items()}


# Entries that files of earlier versions do not have; loading leaves the model's
_NEW = ('_trained_size', '_sampling_rate')


def check_fits(
    model: nn.Module,
    state_dict: Mapping,
    path: str | Path,
    full_shapes: Mapping[str, torch.Size] | None = None,
) -> None:
    """Raise one clear error if a state dict is not exactly that of the model.

    Args:
        model (nn.Module): The model.
        state_dict (Mapping): What is to be loaded.
        path (str | Path): Where it comes from, for the message.
        full_shapes (Mapping, optional): Of a sharded model, its
            :func:`shapes_of` before it was. Defaults to None.

    Raises:
        CheckpointError: Counts, and first names of, missing, unexpected and
            differently shaped entries; or an entry that is not finite.
    """
    own = full_shapes or {**shapes_of(model), **adapted_shapes(model, state_dict)}
    lacking = missing(model, state_dict, full_shapes)
    kinds = [
        f'{key} {state_dict[key].dtype} instead of {value.dtype}'
        for key, value in model.state_dict().items()
        if key in state_dict
        and value.is_floating_point() != state_dict[key].is_floating_point()
    ]
    unexpected = [key for key in state_dict if key not in own]
    shapes = [
        f'{key} {tuple(state_dict[key].shape)} instead of {tuple(own[key])}'
        for key in own
        if key in state_dict and state_dict[key].shape != own[key]
    ]
    if not (lacking or unexpected or shapes or kinds):
        check_finite(state_dict, path)
        return
    faults = [
        f'{len(names)} {what} ({", ".join(names[:3])}{", ..." * (len(names) > 3)})'
        for names, what in [
            (lacking, 'entries missing'),
            (unexpected, 'unknown entries'),
            (shapes, 'of another shape'),
            (kinds, 'of another type'),
        ]
        if names
    ]
    raise CheckpointError(
        f'checkpoint {path} does not fit the model, which has {len(own)} entries: '
        + '; '.join(faults)
        + '. Use the config that it was trained with (meta["cfg"] of the checkpoint '
        'holds it), or convert it with tools/model_converters'
    )


def check_finite(state_dict: Mapping, path: str | Path) -> None:
    """Raise if a state dict holds NaN or infinity; masks of -inf are let through.

    Raises:
        CheckpointError: Names the first entry.
    """
    bad = not_finite(state_dict)
    if bad:
        raise CheckpointError(
            f'checkpoint {path}: {bad[0]} is not finite'
            + f', nor are {len(bad) - 1} other entries' * (len(bad) > 1)
            + '; its training diverged. Take an earlier checkpoint'
        )


def not_finite(state_dict: Mapping) -> list[str]:
    """Names of the entries that hold NaN or infinity."""
    kinds = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
    return [
        key
        for key, value in state_dict.items()
        if value.dtype in kinds and not bool((value < torch.inf).all())
    ]


def check_part(
    model: nn.Module,
    state_dict: Mapping,
    path: str | Path,
    option: str,
    same: str | None = '',
    full_shapes: Mapping[str, torch.Size] | None = None,
) -> None:
    """Check weights to start from, of which a model takes what it has too.

    Args:
        model (nn.Module): The model.
        state_dict (Mapping): What is to be loaded.
        path (str | Path): Where it comes from, for the message.
        option (str): Where ``ignore_mismatched_sizes`` can be set.
        same (str, optional): Entries with this prefix must not be of another
            shape; None if any may. Defaults to ``''``: all.
        full_shapes (Mapping, optional): See :func:`check_fits`.

    Raises:
        CheckpointError: If there is no entry in common, one is of another shape
            although it must not, or one is not finite.
    """
    own = full_shapes or shapes_of(model)
    common = {key: state_dict[key] for key in own if key in state_dict}
    if not common:
        raise CheckpointError(
            f'checkpoint {path} has no entry in common with the model; its first '
            f'names are {list(state_dict)[:3]}, those of the model {list(own)[:3]}'
        )
    other = mismatched(model, state_dict, full_shapes)
    other = [key for key in other if same is not None and key.startswith(same)]
    if other:
        key = other[0]
        raise CheckpointError(
            f'checkpoint {path} is of another architecture: {len(other)} of '
            f'{len(own)} entries have another shape, the first is {key} '
            f'{tuple(state_dict[key].shape)} instead of {tuple(own[key])}. Take a '
            'checkpoint of this one, or start from what fits with '
            f'{option}.ignore_mismatched_sizes=True'
        )
    check_finite(common, path)


def missing(
    model: nn.Module,
    state_dict: Mapping,
    full_shapes: Mapping[str, torch.Size] | None = None,
) -> list[str]:
    """Names of a model's entries that a state dict does not have.

    Not those that files of earlier versions lack.
    """
    return [
        key
        for key in full_shapes or shapes_of(model)
        if key not in state_dict and key.rpartition('.')[2] not in _NEW
    ]


def mismatched(
    model: nn.Module,
    state_dict: Mapping,
    full_shapes: Mapping[str, torch.Size] | None = None,
) -> list[str]:
    """Names of entries that would be refused for their shapes.

    Not those that take over their shape, nor those below a module that has hooks
    to adapt state dicts, such as the position embedding of a transformer.
    """
    own = full_shapes or {**shapes_of(model), **adapted_shapes(model, state_dict)}
    adapting = tuple(
        f'{name}.' if name else ''
        for name, module in model.named_modules()
        if module._load_state_dict_pre_hooks
    )
    return [
        key
        for key in own
        if key in state_dict
        and state_dict[key].shape != own[key]
        and not key.startswith(adapting)
    ]


def load_into(model: nn.Module, path: str | Path) -> dict:
    """Load a checkpoint strictly into a model and return the checkpoint."""
    checkpoint = load(path)
    state_dict = state_dict_of(checkpoint)
    check_fits(model, state_dict, path)
    model.load_state_dict(state_dict, strict=True)
    return checkpoint
