"""Files of figures."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from smpconv_mm.checkpoint import atomic_path


def save_figure(figure: Figure, path: str | Path, dpi: int = 120) -> None:
    """Write a figure in the format of the suffix; replaces ``path`` when done."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi, bbox_inches='tight')
