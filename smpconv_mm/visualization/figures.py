"""Files of figures."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from smpconv_mm.checkpoint import atomic_path
from smpconv_mm.errors import UsageError


def picture_path(name: str | Path) -> Path:
    """The file that a picture is written to; ``.png`` where no suffix is given.

    Raises:
        UsageError: If it is a folder, or matplotlib does not write its format.
    """
    path = Path(name)
    if path.is_dir() or str(name).endswith('/'):
        raise UsageError(f'{name} is a folder; name the file of the picture')
    formats = FigureCanvasBase.get_supported_filetypes()
    if path.suffix and path.suffix[1:].lower() not in formats:
        raise UsageError(
            f'{name}: no picture can be written as {path.suffix}; the suffix may be '
            f'{", ".join(f".{form}" for form in sorted(formats))}'
        )
    return path if path.suffix else path.with_name(f'{path.name}.png')


def save_figure(figure: Figure, path: str | Path, dpi: int = 120) -> Path:
    """Write a figure in the format of the suffix, all of it or nothing.

    Returns:
        Path: What was written; see :func:`picture_path`.

    Raises:
        UsageError: See :func:`picture_path`.
    """
    path = picture_path(path)
    with atomic_path(path) as temporary:
        figure.savefig(
            temporary, format=path.suffix[1:].lower(), dpi=dpi, bbox_inches='tight'
        )
    return path
