"""Pictures of how points move and radii change while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor, nn

from smpconv_mm.layers import SMPKernel

from .kernels import short_name


@torch.no_grad()
def draw_trajectories(
    model: nn.Module,
    steps: Sequence[int],
    history: Mapping[str, Mapping[str, Tensor]],
    unit: str = 'epoch',
    max_layers: int = 8,
) -> Figure:
    """Draw the paths of points over the kernels that they make now.

    Two panels per layer: paths, from blue at the start to pink with a dot now,
    and radii over time with their mean. Where every output channel has points
    of its own, the first channel's are drawn. The grey behind paths is the
    root mean square of the kernel over channels; the frame is the kernel.
    Of a 3-D kernel the first two axes are shown, of a 1-D kernel the paths run
    upwards in time.

    Args:
        model (nn.Module): Network in training form.
        steps (Sequence[int]): When the points were recorded, T numbers.
        history (Mapping): For names of SMP kernels in ``model`` their
            ``'coord'`` of shape (T, G, P, d) and ``'radius'`` (T, G, P).
        unit (str): Of ``steps``. Defaults to 'epoch'.
        max_layers (int): Layers at most; evenly spaced over depth. Defaults
            to 8.

    Returns:
        Figure: For :func:`smpconv_mm.visualization.save_figure`.

    Raises:
        ValueError: If ``history`` is empty.
    """
    if not history:
        raise ValueError('history names no kernel; there is nothing to draw')
    names = list(history)
    chosen = np.unique(
        np.linspace(0, len(names) - 1, max_layers).round().astype(int)
    ).tolist()
    columns = min(2, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = Figure(figsize=(6 * columns, 2.9 * rows), layout='constrained')
    axes = figure.subplots(rows, 2 * columns, squeeze=False).reshape(-1, 2)
    for (left, right), index in zip(axes, chosen):
        name = names[index]
        kernel = model.get_submodule(name)
        coord = history[name]['coord'][:, 0].float().cpu().numpy()
        radius = history[name]['radius'][:, 0].float().cpu().numpy()
        if kernel.ndim == 1:
            _draw_over_time(left, kernel, steps, coord[..., 0], unit)
        else:
            _draw_paths(left, kernel, coord[..., :2])
            left.set_ylabel('y', fontsize=7)
        left.set_xlabel('position' if kernel.ndim == 1 else 'x', fontsize=7)
        left.set_title(
            f'{short_name(name)}\n{kernel.n_points} points', fontsize=7, loc='left'
        )
        right.plot(steps, radius, color='0.6', linewidth=0.4)
        right.plot(steps, radius.mean(1), 'k-', linewidth=1.5)
        right.set_xlabel(unit, fontsize=7)
        right.set_title('radius', fontsize=7)
        for axis in (left, right):
            axis.tick_params(labelsize=6)
    span = Normalize(float(steps[0]), float(max(steps[-1], steps[0] + 1e-9)))
    bar = figure.colorbar(
        ScalarMappable(span, 'cool'), ax=axes[:, 1].tolist(), fraction=0.03, pad=0.02
    )
    bar.set_label(f'{unit} on the path of a point', fontsize=7)
    bar.ax.tick_params(labelsize=6)
    for axis in axes[len(chosen) :].flat:
        axis.set_axis_off()
    return figure


def _strength(kernel: SMPKernel) -> np.ndarray:
    """Root mean square over channels of the first set's kernel, 1-D or 2-D."""
    dense = kernel.make_kernel().float()
    first = dense if kernel.shared_points else dense[:1]
    square = first.square().flatten(0, 1).mean(0)
    return (square.mean(0) if kernel.ndim == 3 else square).sqrt().cpu().numpy()


def _draw_paths(axis: Axes, kernel: SMPKernel, coord: np.ndarray) -> None:
    strength = _strength(kernel)
    half = [1 / max(n - 1, 1) for n in reversed(strength.shape)]  # of a grid step
    axis.imshow(
        strength,
        cmap='Greys',
        vmax=1.5 * max(strength.max(), 1e-12),
        extent=(-1 - half[0], 1 + half[0], -1 - half[1], 1 + half[1]),
        interpolation='nearest',
    )
    segments = np.stack([coord[:-1], coord[1:]], axis=2)  # (T - 1, P, 2 ends, 2)
    times = np.repeat(np.arange(len(segments)), coord.shape[1])
    axis.add_collection(
        LineCollection(segments.reshape(-1, 2, 2), array=times, cmap='cool', lw=1)
    )
    axis.plot(*coord[-1].T, '.', color='#67000d', markersize=3)
    reach = max(1.1, 1.05 * np.abs(coord).max())
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect='equal')


def _draw_over_time(
    axis: Axes, kernel: SMPKernel, steps: Sequence[int], coord: np.ndarray, unit: str
) -> None:
    strength = _strength(kernel)
    places = np.linspace(-1, 1, len(strength))
    behind = axis.twinx()
    behind.fill_between(places, strength, color='0.85')
    behind.set(yticks=[], ylim=(0, 1.5 * max(strength.max(), 1e-12)))
    axis.set_zorder(behind.get_zorder() + 1)
    axis.patch.set_visible(False)
    axis.plot(coord, steps, color='#e31a1c', linewidth=0.6)
    axis.plot(coord[-1], [steps[-1]] * coord.shape[1], '.', color='#67000d', ms=3)
    axis.axvline(-1, color='k', linewidth=0.8)
    axis.axvline(1, color='k', linewidth=0.8)
    axis.set_ylabel(unit, fontsize=7)
