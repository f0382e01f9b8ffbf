"""Pictures of fitted functions and of the points that fit them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.animation import PillowWriter
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from smpconv_mm.checkpoint import atomic_path

from .fitting import METHODS, Fit, Frame

_IMAGE = dict(cmap='gray', vmin=-1, vmax=1, extent=(-1, 1, -1, 1), aspect='auto')


def draw_fits(signals: dict[str, Tensor], fits: Sequence[Fit]) -> Figure:
    """Draw the fits of the first seed, one row per signal.

    The first panel of a row shows the PSNR over steps, the last the paths of
    the points (of a signal upwards over steps, of an image in its plane), those
    between the fit of each method over the signal in grey.

    Args:
        signals (dict[str, Tensor]): Their targets.
        fits (Sequence[Fit]): Runs of all methods.
    """
    columns = len(METHODS) + 2
    figure = Figure(figsize=(3.4 * columns, 2.8 * len(signals)), layout='constrained')
    axes = figure.subplots(len(signals), columns, squeeze=False)
    for row, (signal, target) in zip(axes, signals.items()):
        of_signal = [run for run in fits if run.signal == signal]
        runs = [
            next(run for run in of_signal if run.method == method) for method in METHODS
        ]
        for run, axis in zip(runs, row[1:]):
            frame = run.frames[-1]
            _draw_values(axis, target, frame.values)
            title = METHODS[run.method].title
            axis.set_title(f'{title}: {run.psnr[frame.step]:.1f} dB', fontsize=11)
            steps = range(1, frame.step + 1)
            row[0].plot(steps, run.psnr[1 : frame.step + 1], label=title, lw=0.9)
        row[0].set(xscale='log', ylabel='PSNR, dB', title=signal)
        row[0].grid(alpha=0.3)
        _draw_point_paths(row[-1], runs[0].frames)
        row[-1].set_title(f'points of {METHODS[runs[0].method].title}', fontsize=11)
        row[-1].set_xlabel('position' if target.ndim == 1 else 'x', fontsize=9)
        row[-1].set_ylabel('step' if target.ndim == 1 else 'y', fontsize=9)
        if target.ndim == 1:
            row[1].legend(fontsize=8, loc='upper center', ncols=2)
            row[1].set_xlabel('position', fontsize=9)
        for axis in row:
            axis.tick_params(labelsize=8)
    axes[0, 0].legend(fontsize=8)
    axes[-1, 0].set_xlabel('step', fontsize=9)
    return figure


def _draw_values(axis: Axes, target: Tensor, values: Tensor) -> None:
    target, values = target.numpy(), values.numpy()
    if target.ndim == 2:
        axis.imshow(values, **_IMAGE)
        axis.set(xticks=[], yticks=[])
        return
    places = np.linspace(-1, 1, len(target))
    axis.plot(places, target, color='0.7', linewidth=1.8, label='truth')
    axis.plot(places, values, color='#e31a1c', linewidth=0.8, label='fit')
    axis.set_ylim(-1.3, 1.6)


def _draw_point_paths(axis: Axes, frames: Sequence[Frame]) -> None:
    coord = torch.stack([frame.coord for frame in frames]).numpy()  # (T, P, d)
    if coord.shape[-1] == 1:
        steps = [max(frame.step, 0.5) for frame in frames]
        axis.plot(coord[..., 0], steps, color='#e31a1c', linewidth=0.3)
        axis.set(yscale='log', xlim=(-1.05, 1.05))
        return
    segments = np.stack([coord[:-1], coord[1:]], axis=2).reshape(-1, 2, 2)
    times = np.repeat(np.arange(len(coord) - 1), coord.shape[1])
    axis.add_collection(LineCollection(segments, array=times, cmap='cool', lw=0.6))
    axis.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))


def animate_points(
    target: Tensor, run: Fit, path: str | Path, rate: float = 8.0
) -> None:
    """Write a GIF of a fit by points: how they move, and what they make.

    Of a signal it shows the points over the fit and the signal: one dot per point,
    at its position and weight, with a bar of twice its radius. Of an image it shows
    the points on the fit.

    Args:
        target (Tensor): What is fitted, (L,) or (H, W).
        run (Fit): A run whose frames have points.
        path (str | Path): ``.gif`` file to write; replaced when done.
        rate (float): Frames per second. Defaults to 8.

    Raises:
        ValueError: If the run was not made with points.
    """
    if run.frames[0].coord is None:
        raise ValueError(f'method {run.method!r} has no points to animate')
    figure = Figure(figsize=(6, 3.4), layout='constrained')
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    highest = max(float(frame.weight.abs().max()) for frame in run.frames)
    reach = max(1.3, 1.05 * highest)
    writer = PillowWriter(fps=rate)
    with atomic_path(path) as temporary, writer.saving(figure, str(temporary), 90):
        for frame in [*run.frames, *[run.frames[-1]] * int(rate)]:
            axis.clear()
            _draw_values(axis, target, frame.values)
            if target.dim() == 2:
                axis.plot(*frame.coord.numpy().T, '.', color='#e31a1c', markersize=2)
                axis.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
            else:
                axis.errorbar(
                    frame.coord[:, 0].numpy(),
                    frame.weight.numpy(),
                    xerr=frame.radius.numpy(),
                    fmt='k.',
                    markersize=3,
                    elinewidth=0.4,
                    alpha=0.6,
                )
                axis.set(xlim=(-1.1, 1.1), ylim=(-reach, reach))
            axis.set_title(
                f'{run.signal}, {METHODS[run.method].title}, step {frame.step}: '
                f'{run.psnr[frame.step]:.1f} dB',
                fontsize=9,
            )
            writer.grab_frame()
