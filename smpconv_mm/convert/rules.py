"""Renaming the entries of a checkpoint by rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from smpconv_mm.errors import CheckpointError


class Rule(NamedTuple):
    r"""What becomes of the entries whose whole name matches a pattern.

    Attributes:
        pattern (str): Regular expression of the old name.
        new (str, optional): The new name, in which ``\1`` or ``\g<name>`` stand
            for groups of the pattern; None drops the entry.
        value (Callable): Makes the new value of the old one. It may raise a
            ValueError that completes "NAME ...".
        reason (str): Why the entry is dropped.
    """

    pattern: str
    new: str | None
    value: Callable[[Tensor], Tensor] = lambda value: value
    reason: str = ''


@dataclass
class Report:
    """What became of the entries of a checkpoint.

    Attributes:
        renamed (dict[str, str]): Old name to new name.
        dropped (dict[str, str]): Old name to the reason.
        changed (dict[str, str]): New name to what was done to its value.
        added (list[str]): New names of entries that the original does not have;
            they have their initial values.
        backbone (dict): Arguments of the backbone, read off the entries.
        deploy (bool): The entries are of a network in deploy form.
    """

    renamed: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)
    backbone: dict = field(default_factory=dict)
    deploy: bool = False


def rename(
    state_dict: Mapping[str, Tensor], rules: Sequence[Rule], source: str
) -> tuple[dict[str, Tensor], Report]:
    """Apply to each entry the first rule that matches its name.

    Args:
        state_dict (Mapping[str, Tensor]): Entries under their old names.
        rules (Sequence[Rule]): One for every name that may occur.
        source (str): What the entries should be of, for messages.

    Returns:
        tuple[dict[str, Tensor], Report]: Entries under their new names, and what
        became of each.

    Raises:
        CheckpointError: If an entry matches no rule, or its value is wrong.
    """
    out: dict[str, Tensor] = {}
    report = Report()
    unknown = []
    for old, value in state_dict.items():
        matches = ((rule, re.fullmatch(rule.pattern, old)) for rule in rules)
        rule, match = next((m for m in matches if m[1]), (None, None))
        if rule is None:
            unknown.append(old)
            continue
        try:
            value = rule.value(value)
        except ValueError as error:
            raise CheckpointError(f'{old} {error}') from error
        if rule.new is None:
            report.dropped[old] = rule.reason
        else:
            report.renamed[old] = match.expand(rule.new)
            out[report.renamed[old]] = value
    if unknown:
        raise CheckpointError(
            f'{len(unknown)} entries are not of {source}, first {unknown[:3]}; nothing '
            'was converted. Is --task right?'
        )
    return out, report


def shape_of(state_dict: Mapping[str, Tensor], name: str, source: str) -> list[int]:
    """Shape of an entry.

    Raises:
        CheckpointError: If there is no entry of this name.
    """
    if name not in state_dict:
        raise CheckpointError(
            f'the checkpoint has no {name}: it is not complete, or not of {source}. '
            'Is --task right?'
        )
    return list(state_dict[name].shape)


def count(state_dict: Mapping[str, Tensor], prefix: str) -> int:
    """Number of different names right after a prefix; at least 1."""
    depth = prefix.count('.')
    return len({k.split('.')[depth] for k in state_dict if k.startswith(prefix)}) or 1
