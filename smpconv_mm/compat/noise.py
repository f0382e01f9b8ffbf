"""What other packages say at every start and no user can act on."""

from __future__ import annotations

import logging
import warnings

# beginnings of warnings about code of MMEngine, mmdet and mmseg themselves
_WARNINGS = (
    'pkg_resources is deprecated',
    '``build_loss`` would be deprecated',
    'Default ``avg_non_ignore`` is False',
    'The draw is False, it means that the hook for visualization',
)
# beginnings of what MMEngine logs of its own, or once for each parameter
_MESSAGES = (
    'paramwise_options -- ',
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    'The prefix is not set in metric class',
    'Distributed training is not used, all SyncBatchNorm',
)
_LINES = 8  # longer messages are tables and configs, to be looked up


def ignore_warnings() -> None:
    """Leave out warnings that say only that a package uses something old."""
    for text in _WARNINGS:
        warnings.filterwarnings('ignore', text.replace('.', r'\.'))


class _ForConsole(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return text.count('\n') < _LINES and not text.startswith(_MESSAGES)


def shorten_console(logger: logging.Logger) -> None:
    """Show what is short and matters; the files of the log get everything."""
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(_ForConsole())
