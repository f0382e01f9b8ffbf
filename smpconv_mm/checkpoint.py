"""Checkpoints: read without executing them, write without half-written files."""

from __future__ import annotations

import fcntl
import glob
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from .errors import CheckpointError

# what torch's weights_only unpickler says when it refuses an object
_REFUSED = re.compile(
    r'(?:Unsupported (?:global|class)|unrecognized function|Can only build)[^.,]*'
    r'(?:\.\w+)*'
)


def load(path: str | Path, map_location: str = 'cpu') -> dict:
    """Read a checkpoint file with ``weights_only=True``, or a ``.safetensors`` file.

    Raises:
        CheckpointError: If the file is missing, truncated, not a checkpoint, or
            holds objects that would have to be executed to be read.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f'checkpoint {path} does not exist')
    if path.suffix == '.safetensors':
        return dict(state_dict=_load_safetensors(path, str(map_location)), meta={})
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch raises a dozen types for bad files
        text = ' '.join(str(error).split())
        detail = f'{type(error).__name__}: {text.rpartition("error: ")[2][:120]}'
        refused = _REFUSED.search(text)
        if refused:
            raise CheckpointError(
                f'checkpoint {path} was refused: it holds objects other than '
                'tensors and plain values, which could run code when loaded '
                f'({refused.group()}). If you trust its source, re-save its '
                'state_dict alone with the program that wrote it'
            ) from error
        raise CheckpointError(
            f'checkpoint {path} ({path.stat().st_size} bytes) cannot be read: it '
            'is truncated or not a PyTorch checkpoint '
            f'({detail}). Copy or download it again, or resume from an earlier one'
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(
            f'checkpoint {path} holds a {type(checkpoint).__name__}, expected a dict '
            'with a state_dict'
        )
    return checkpoint


def _load_safetensors(path: Path, map_location: str) -> dict[str, torch.Tensor]:
    if find_spec('safetensors') is None:
        raise CheckpointError(
            f'checkpoint {path} needs the package safetensors, which is not installed; '
            'run pip install "smpconv_mm[safetensors]"'
        )
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, map_location)
    except SafetensorError as error:
        raise CheckpointError(
            f'checkpoint {path} ({path.stat().st_size} bytes) cannot be read: {error}. '
            'Copy or download it again'
        ) from error


def in_deploy_form(checkpoint: Mapping) -> bool:
    """Whether a checkpoint is of a network in deploy form."""
    return bool((checkpoint.get('meta') or {}).get('deploy'))


def state_dict_of(checkpoint: Mapping) -> dict:
    """The model's entries of a checkpoint, without a ``module.`` prefix."""
    state_dict = checkpoint.get('state_dict', checkpoint)
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
            differently shaped entries.
    """
    own = full_shapes or {**shapes_of(model), **adapted_shapes(model, state_dict)}
    missing = [
        key
        for key in own
        if key not in state_dict and key.rpartition('.')[2] not in _NEW
    ]
    unexpected = [key for key in state_dict if key not in own]
    shapes = [
        f'{key} {tuple(state_dict[key].shape)} instead of {tuple(own[key])}'
        for key in own
        if key in state_dict and state_dict[key].shape != own[key]
    ]
    if not (missing or unexpected or shapes):
        return
    faults = [
        f'{len(names)} {what} ({", ".join(names[:3])}{", ..." * (len(names) > 3)})'
        for names, what in [
            (missing, 'entries missing'),
            (unexpected, 'unknown entries'),
            (shapes, 'of another shape'),
        ]
        if names
    ]
    raise CheckpointError(
        f'checkpoint {path} does not fit the model, which has {len(own)} entries: '
        + '; '.join(faults)
        + '. Use the config that it was trained with (meta["cfg"] of the checkpoint '
        'holds it), or convert it with tools/model_converters'
    )


def load_into(model: nn.Module, path: str | Path) -> dict:
    """Load a checkpoint strictly into a model and return the checkpoint."""
    checkpoint = load(path)
    state_dict = state_dict_of(checkpoint)
    check_fits(model, state_dict, path)
    model.load_state_dict(state_dict, strict=True)
    return checkpoint


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name that becomes ``path`` when the block succeeds.

    The temporary file lies in the same folder and keeps the suffix; it is
    removed when the block fails. Those that killed programs left in the folder
    are removed, too.

    Raises:
        FileNotFoundError: If the block wrote under another name, as writers do
            that append a suffix of their own.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent)
    handle, temporary = _new_file(path)
    try:
        yield temporary
        strays = _named_after(temporary)
        if strays:
            raise FileNotFoundError(
                f'{path} was not written, but {strays[0].name}; give {path} a suffix '
                'that its writer knows'
            )
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        for file in (temporary, *_named_after(temporary)):
            file.unlink(missing_ok=True)
        os.close(handle)


_WRITING = '.writing-'  # in the names of temporary files


def _named_after(temporary: Path) -> list[Path]:
    return [*temporary.parent.glob(f'{glob.escape(temporary.name)}?*')]


def _new_file(path: Path) -> tuple[int, Path]:
    """A file beside ``path``, locked while its handle is open.

    The lock goes with the program, however that ends.
    """
    while True:
        handle, name = tempfile.mkstemp(
            prefix=f'.{path.stem}{_WRITING}', suffix=path.suffix, dir=path.parent
        )
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # a file system without locks; nothing is removed there
            return handle, Path(name)
        if os.path.exists(name):
            return handle, Path(name)
        os.close(handle)  # removed before it was locked


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that no program writes any more."""
    for file in folder.glob(f'.*{_WRITING}*'):
        try:
            with open(file, 'rb+') as opened:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.unlink(missing_ok=True)
        except OSError:  # being written, already gone, or of another user
            continue


def save(checkpoint: dict, path: str | Path) -> None:
    """Write a checkpoint; never leaves a half-written file under ``path``."""
    with atomic_path(path) as temporary:
        torch.save(checkpoint, temporary)


def find_latest(work_dir: str | Path) -> Path | None:
    """The checkpoint to resume from in a work dir, or None.

    It is the one that MMEngine's ``last_checkpoint`` names; where a killed run
    left that file empty or pointing nowhere, the newest ``epoch_*.pth`` or
    ``iter_*.pth``.
    """
    work_dir = Path(work_dir)
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file():
        named = pointer.read_text().strip()
        for candidate in (Path(named), work_dir / Path(named).name):
            if named and candidate.is_file():
                return candidate
    found = [*work_dir.glob('epoch_*.pth'), *work_dir.glob('iter_*.pth')]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)
