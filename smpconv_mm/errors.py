"""What a user reads when something is wrong."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    if Path(innermost.f_code.co_filename).is_relative_to(_PACKAGE):
        return text  # raised by this package, for the user to read
    return None


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
