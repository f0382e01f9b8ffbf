"""Training curves from the scalars that MMEngine writes."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure

from smpconv_mm.errors import UsageError


def read_scalars(work_dir: str | Path) -> dict[str, list[tuple[float, float]]]:
    """Read all ``vis_data/scalars.json`` of a work dir.

    A run that was resumed has several; where they overlap the later one counts.

    Returns:
        dict[str, list[tuple[float, float]]]: For each scalar its (step, value)
        pairs in order. Steps are iterations for what is logged while training
        (``loss``, ``lr``) and epochs for what is measured on validation data
        (or iterations there too, for training by iterations).

    Raises:
        UsageError: If there are none.
    """
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    if not files:
        raise UsageError(
            f'{work_dir} has no */vis_data/scalars.json; give the --work-dir of a '
            'training'
        )
    scalars: dict[str, dict[float, float]] = {}
    for file in files:
        for line in file.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of a killed run
            step = record.get('step')
            for key, value in record.items():
                if key not in ('step', 'iter', 'epoch') and step is not None:
                    scalars.setdefault(key, {})[step] = value
    return {key: sorted(values.items()) for key, values in scalars.items()}


def draw_curves(work_dirs: list[str | Path], keys: list[str] | None = None) -> Figure:
    """Draw scalars of one or several runs, one panel per scalar.

    Args:
        work_dirs (list): Work dirs; each is a line.
        keys (list[str], optional): Which scalars. Defaults to None: the loss,
            the learning rate and all validation metrics; not the many of the
            PointTrackingHook.
    """
    runs = {Path(work_dir).name: read_scalars(work_dir) for work_dir in work_dirs}
    found = sorted(set().union(*runs.values()))
    if keys is None:
        keys = [key for key in ('loss', 'lr') if key in found]
        keys += [k for k in found if '/' in k and not k.startswith('points/')]
    unknown = [key for key in keys if key not in found]
    if unknown:
        raise UsageError(f'{unknown} were not logged; there are {found}')
    figure = Figure(figsize=(4.2 * len(keys), 3.2), layout='constrained')
    for axis, key in zip(figure.subplots(1, len(keys), squeeze=False)[0], keys):
        for name, scalars in runs.items():
            if key in scalars:
                steps, values = zip(*scalars[key])
                marker = '.' if len(steps) < 100 else None
                axis.plot(steps, values, label=name, linewidth=1, marker=marker)
        axis.set(title=key, xlabel='epoch' if '/' in key else 'iteration')
        axis.grid(alpha=0.3)
        if len(runs) > 1:
            axis.legend(fontsize=7)
    return figure
