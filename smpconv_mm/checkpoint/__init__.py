"""Checkpoints: read without executing them, write without half-written files."""

from .contents import (
    adapted_shapes,
    check_finite,
    check_fits,
    check_part,
    check_resumable,
    in_deploy_form,
    load_into,
    mismatched,
    missing,
    not_finite,
    shapes_of,
    state_dict_of,
)
from .files import atomic_path, find_latest, load, save, to_bytes

__all__ = [
    'adapted_shapes',
    'atomic_path',
    'check_finite',
    'check_fits',
    'check_part',
    'check_resumable',
    'find_latest',
    'in_deploy_form',
    'load',
    'load_into',
    'mismatched',
    'missing',
    'not_finite',
    'save',
    'shapes_of',
    'state_dict_of',
    'to_bytes',
]
