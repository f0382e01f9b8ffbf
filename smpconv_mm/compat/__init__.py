"""What other packages' versions force on us, a file per package."""

from .imports import after_import

__all__ = ['after_import', 'set_up']


def set_up() -> None:
    """Check the OpenMMLab packages, and mend how MMEngine reads checkpoints.

    Called once, when this package is imported where MMEngine is installed.
    """
    from .mmengine import (
        find_configs_by_path,
        format_configs_once,
        read_and_write_safely,
    )
    from .noise import ignore_warnings
    from .stack import check_stack

    ignore_warnings()
    check_stack()
    read_and_write_safely()
    find_configs_by_path()
    format_configs_once()
