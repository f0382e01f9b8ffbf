"""What a user reads when something is wrong."""

from __future__ import annotations

import errno
import io
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# what the system says when a file cannot be read or written, and what helps
_OF_FILES = {
    errno.ENOSPC: 'the disk is full; make room or choose another folder',
    errno.EDQUOT: 'your quota of the disk is used up; make room there',
    errno.EFBIG: 'it would be larger than files may be here; "ulimit -f" tells how '
    'large, "ulimit -f unlimited" allows more',
    errno.EROFS: 'the file system can only be read; choose another folder',
    errno.EACCES: 'permission denied; choose another folder, or change its permissions',
    errno.EPERM: 'permission denied; choose another folder, or change its permissions',
    errno.EEXIST: 'there is a file where a folder is needed; choose another name',
    errno.ENOTDIR: 'there is a file where a folder is needed; choose another name',
    errno.EISDIR: 'there is a folder where a file is needed; choose another name',
    errno.EMFILE: 'too many files are open; use fewer workers, or "ulimit -n 4096"',
}

_PACKAGE = Path(__file__).parent


class UsageError(RuntimeError):
    """The user can mend this; the message says what and how."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read or does not fit; the message says why."""


# what libraries raise for a user's mistakes
_TOLD = (AssertionError, OSError, TypeError, ValueError, KeyError)


@contextmanager
def plain_errors() -> Iterator[None]:
    """End a tool with one line, not a traceback, where the user can mend it.

    ``SMPCONV_MM_TRACEBACK=1`` shows the traceback all the same.
    """
    try:
        yield
    except (UsageError, CheckpointError) as error:
        message = str(error)
        cause = error
    except Exception as error:
        message = _in_plain_words(error)
        if message is None:
            raise
        cause = error
    else:
        return
    if os.environ.get('SMPCONV_MM_TRACEBACK') == '1':
        raise cause
    raise SystemExit(f'error: {message}') from None


def _in_plain_words(error: Exception) -> str | None:
    """Say what a library's error means, if it is one that the user can mend."""
    if 'Class Index must be less' in str(error) or 'Class values must' in str(error):
        return (
            'a sample has a label for which the model has no class; labels go from 0 '
            'to model.head.num_classes - 1: correct ann_file of the dataset, or the '
            'number of classes'
        )
    of_opencv = type(error).__name__ == 'error' and 'OpenCV' in str(error)
    if not (isinstance(error, _TOLD) or of_opencv):
        return None
    text = str(error).strip()
    if 'failed to load image' in text:  # mmcv, through a loader's worker or not
        image = text.splitlines()[-1].split(': ', 1)[-1]
        return f'{image}: the file is not an image or is damaged; mend or remove it'
    if isinstance(error, FileNotFoundError) and error.filename:
        return f'{error.filename} does not exist'
    if isinstance(error, OSError) and error.errno in _OF_FILES:
        return f'{_file_of(error)}: {_OF_FILES[error.errno]}'
    unknown = re.search(r"(\w+)\.__init__\(\) got an unexpected .* '(\w+)'", text)
    if unknown:
        owner, key = unknown.groups()
        return f'config: {owner} has no argument {key!r}; correct or remove that key'
    if isinstance(error, KeyError) and ' is not in the ' in text:
        return f'config: {text.strip(chr(34))}'
    if of_opencv and '!buf.empty()' in text:
        return 'an image file is empty (0 bytes); "find DATA_FOLDER -empty" names it'
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in frames:
        if frame.f_code.co_name == '_serialize_data' and 'concatenate' in text:
            return _empty_dataset(frame.f_locals['self'])
    innermost = frames[-1]
    if (
        isinstance(error, AssertionError)
        and 'hooks' in Path(innermost.f_code.co_filename).parts
    ):
        return f'config: {text}'  # what a hook of OpenMMLab checks before training
    if Path(innermost.f_code.co_filename).is_relative_to(_PACKAGE):
        return text  # raised by this package, for the user to read
    return None


def _file_of(error: OSError) -> str:
    """The file that an error is about; writing does not tell its name."""
    if error.filename:
        return str(error.filename)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        for value in frame.f_locals.values():
            name = getattr(value, 'name', None)
            if isinstance(value, io.IOBase) and isinstance(name, str):
                return name
    return 'a file cannot be read or written'


def _empty_dataset(dataset) -> str:
    """``dataset`` is one of MMEngine."""
    source = dataset.ann_file or dataset.data_prefix
    classes = list(dataset.metainfo.get('classes') or [])
    more = f', ... ({len(classes)} classes)' * (len(classes) > 3)
    return (
        f'{source}: the data set has no sample to use; it lists no image, or none '
        f'with an object of the classes {", ".join(map(str, classes[:3]))}{more}, or '
        f'its filter_cfg={dataset.filter_cfg} drops all; correct the file, '
        'metainfo.classes or filter_cfg of the data set'
    )
