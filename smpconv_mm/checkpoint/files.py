"""Read without executing, write without half-written files."""

from __future__ import annotations

import fcntl
import glob
import io
import json
import os
import pickle
import pickletools
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch

from smpconv_mm.errors import CheckpointError


def load(path: str | Path, map_location: str = 'cpu') -> dict:
    """Read a checkpoint file with ``weights_only=True``, or a ``.safetensors`` file.

    Returns:
        dict: What the file holds. If there is a ``meta``, it is a dict.

    Raises:
        CheckpointError: If the file is missing, truncated, not a checkpoint, or
            holds objects that would have to be executed to be read.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f'checkpoint {path} does not exist')
    if path.suffix == '.safetensors':
        return _load_safetensors(path, str(map_location))
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch raises a dozen types for bad files
        raise CheckpointError(_why_unreadable(path, error)) from error
    _check_form(checkpoint, path)
    if checkpoint.get('meta', {}) is None:
        checkpoint['meta'] = {}
    return checkpoint


def _require_safetensors(path: str | Path) -> None:
    if find_spec('safetensors') is None:
        raise CheckpointError(
            f'checkpoint {path} needs the package safetensors, which is not installed; '
            'run pip install "smpconv_mm[safetensors]"'
        )


def _load_safetensors(path: Path, map_location: str) -> dict:
    _require_safetensors(path)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, 'pt', map_location) as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            meta = json.loads((file.metadata() or {}).get(_META, '{}'))
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f'checkpoint {path} ({path.stat().st_size} bytes) cannot be read: {error}. '
            'Copy or download it again'
        ) from error
    checkpoint = dict(state_dict=tensors, meta=meta)
    _check_form(checkpoint, path)
    return checkpoint


_META = 'smpconv_mm.meta'  # of a .safetensors file: `meta` as JSON


def to_bytes(checkpoint: dict, suffix: str = '.pth') -> bytes:
    """A checkpoint as the content of a file.

    Args:
        checkpoint (dict): With a ``state_dict``. Of a ``.safetensors`` file nothing
            but this and ``meta`` are kept.
        suffix (str): Of the file. Defaults to ``'.pth'``.

    Raises:
        CheckpointError: If safetensors is needed and not installed, or ``meta`` has
            values that are neither plain nor arrays.
    """
    if suffix != '.safetensors':
        file = io.BytesIO()
        torch.save(checkpoint, file)
        return file.getvalue()
    _require_safetensors(f'*{suffix}')
    from safetensors.torch import save

    tensors = {  # the format has neither strides nor two names of one memory
        key: value.detach().clone(memory_format=torch.contiguous_format)
        for key, value in checkpoint['state_dict'].items()
        if isinstance(value, torch.Tensor)
    }
    try:
        meta = json.dumps(checkpoint.get('meta') or {}, default=_as_list)
    except TypeError as error:
        raise CheckpointError(
            f'meta of the checkpoint cannot be kept in a .safetensors file: {error}'
        ) from error
    return save(tensors, {'format': 'pt', _META: meta})


def _as_list(value: object) -> object:
    if hasattr(value, 'tolist'):  # tensors and arrays
        return value.tolist()
    raise TypeError(f'{type(value).__name__} is not a plain value')


def _why_unreadable(path: Path, error: Exception) -> str:
    text = ' '.join(str(error).split()).rpartition('error: ')[2]
    named = re.search(r'GLOBAL (\S+)', text)
    reason = named[1] if named else re.split(r'\. |, | Check ', text)[0]
    refused = isinstance(error, pickle.UnpicklingError)
    if refused and 'Unsupported operand' not in text and _is_whole(path):
        return (
            f'checkpoint {path} was refused: it holds objects other than '
            f'tensors and plain values, which could run code when loaded ({reason}). '
            'If you trust its source, re-save its state_dict alone with the program '
            'that wrote it'
        )
    return (
        f'checkpoint {path} ({path.stat().st_size} bytes) cannot be read: it '
        'is truncated or not a PyTorch checkpoint '
        f'({type(error).__name__}: {reason[:120]}). Copy or download it again, or '
        'resume from an earlier one'
    )


def _is_whole(path: Path) -> bool:
    """Whether the pickles in a file can be parsed to their ends; runs none of them."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                (name,) = (n for n in archive.namelist() if n.endswith('/data.pkl'))
                return bool(list(pickletools.genops(archive.read(name))))
        with open(path, 'rb') as file:
            for _ in range(4):  # magic number, protocol, system, content
                list(pickletools.genops(file))
                if not file.peek(1):
                    break
        return True
    except Exception:  # pickletools raises several types for what is not a pickle
        return False


def _check_form(checkpoint: object, path: Path) -> None:
    """Raise if a file holds anything but what a checkpoint is made of."""
    expected = 'expected a dict with a state_dict'
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f'checkpoint {path} holds a {type(checkpoint).__name__}, {expected}'
        )
    meta = checkpoint.get('meta')
    if meta is not None and not isinstance(meta, Mapping):
        raise CheckpointError(
            f'checkpoint {path}: meta is a {type(meta).__name__}, expected a dict'
        )
    classes = (meta or {}).get('dataset_meta')
    if classes is not None and not isinstance(classes, Mapping):
        raise CheckpointError(
            f'checkpoint {path}: meta.dataset_meta is a {type(classes).__name__}, '
            'expected a dict'
        )
    check_entries(checkpoint.get('state_dict', checkpoint), path)


def check_entries(state_dict: object, path: str | Path) -> None:
    """Raise if a state dict is anything but names and plain tensors.

    Raises:
        CheckpointError: Names what is wrong.
    """
    where = f'checkpoint {path}'.rstrip()
    if not isinstance(state_dict, Mapping):
        raise CheckpointError(
            f'{where}: its state dict is a {type(state_dict).__name__}, '
            'expected a dict of names and tensors'
        )
    for key, value in state_dict.items():
        if not isinstance(key, str):
            raise CheckpointError(
                f'{where} has an entry named {key!r}, a '
                f'{type(key).__name__}; names of entries are strings'
            )
        if not isinstance(value, torch.Tensor):
            continue
        if value.layout != torch.strided or value.is_quantized:
            kind = 'quantised' if value.is_quantized else 'sparse'
            raise CheckpointError(
                f'{where}: {key} is a {kind} tensor; save it as a plain one, with '
                'dequantize() or to_dense()'
            )


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
    prefix, opened = f'.{path.stem}{_WRITING}', None
    try:
        _remove_leftovers(path.parent)
        opened = handle, temporary = _new_file(path, prefix)
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
    except OSError as error:  # say the name that is meant
        if error.errno and Path(error.filename or prefix).name.startswith(prefix):
            error.filename = str(path)
        raise
    finally:
        if opened:
            for file in (temporary, *_named_after(temporary)):
                file.unlink(missing_ok=True)
            os.close(handle)


_WRITING = '.writing-'  # in the names of temporary files


def _named_after(temporary: Path) -> list[Path]:
    return [*temporary.parent.glob(f'{glob.escape(temporary.name)}?*')]


def _new_file(path: Path, prefix: str) -> tuple[int, Path]:
    """A file beside ``path``, locked while its handle is open.

    The lock goes with the program, however that ends.
    """
    while True:
        handle, name = tempfile.mkstemp(path.suffix, prefix, path.parent)
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
    """Write a checkpoint; never leaves a half-written file under ``path``.

    A name that ends in ``.safetensors`` gives a file of that form, with the entries
    ``state_dict`` and ``meta`` only.
    """
    if Path(path).suffix == '.safetensors':
        with atomic_path(path) as temporary:
            temporary.write_bytes(to_bytes(checkpoint, '.safetensors'))
        return
    # torch's own way of opening a file does not tell why it cannot be written
    with atomic_path(path) as temporary, open(temporary, 'wb') as file:
        torch.save(checkpoint, file)


def find_latest(work_dir: str | Path) -> Path | None:
    """The checkpoint to resume from in a work dir, or None.

    It is the one that MMEngine's ``last_checkpoint`` names, in the work dir itself
    if it was copied or moved; where a killed run left that file empty or pointing
    nowhere, the newest ``epoch_*.pth`` or ``iter_*.pth``.
    """
    work_dir = Path(work_dir)
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file():
        named = pointer.read_text().strip()
        for candidate in (work_dir / Path(named).name, Path(named)):
            if named and candidate.is_file():
                return candidate
    found = [*work_dir.glob('epoch_*.pth'), *work_dir.glob('iter_*.pth')]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)
