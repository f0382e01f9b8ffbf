"""Figures of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from smpconv_mm.layers import KernelConv

from .kernels import draw_kernel


def draw_tradeoffs(rows: Sequence[Mapping], metric: str) -> Figure:
    """Draw a metric against latency and against parameters, one point per contender.

    Args:
        rows (Sequence[Mapping]): ``name``, ``mean``, ``std``, ``ms`` and
            ``parameters`` of each contender, as in ``compare.json``.
        metric (str): Its name.
    """
    figure = Figure(figsize=(9.5, 3.8), layout='constrained')
    panels = [
        ('ms', 'latency of one input in deploy form, ms', 1),
        ('parameters', 'parameters, thousands', 1e3),
    ]
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (key, label, unit) in zip(axes, panels):
        for i, row in enumerate(rows):
            axis.errorbar(
                row[key] / unit,
                row['mean'],
                row['std'] or None,
                fmt='o',
                capsize=3,
                color=f'C{i % 10}',
                label=row['name'] if axis is axes[0] else None,
            )
        axis.set(xlabel=label)
        axis.margins(x=0.15)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(metric)
    figure.legend(loc='outside right upper', fontsize=8)
    return figure


def draw_learning(rows: Sequence[Mapping], metric: str) -> Figure:
    """Draw a metric over the epochs: means over seeds, and their deviations as bands.

    Args:
        rows (Sequence[Mapping]): ``name`` and ``curve`` (epoch, mean, deviation) of
            each contender, as in ``compare.json``.
        metric (str): Its name.
    """
    figure = Figure(figsize=(7, 3.8), layout='constrained')
    axis = figure.subplots()
    for i, row in enumerate(rows):
        if not row['curve']:
            continue
        epoch, mean, std = np.array(row['curve']).T
        axis.plot(epoch, mean, label=row['name'], color=f'C{i % 10}')
        axis.fill_between(
            epoch, mean - std, mean + std, color=f'C{i % 10}', alpha=0.15, linewidth=0
        )
    axis.set(xlabel='epoch', ylabel=metric)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure


@torch.no_grad()
def draw_kernels_of(
    models: Mapping[str, nn.Module], channels: int = 6
) -> Figure | None:
    """Draw kernels of the first layer that makes its kernels, one row per model.

    Args:
        models (Mapping[str, nn.Module]): Networks in training form, by name.
        channels (int): Kernels per row, evenly spaced. Defaults to 6.

    Returns:
        Figure | None: None if no network has such a layer.
    """
    rows = {}
    for name, model in models.items():
        layers = [m for m in model.modules() if isinstance(m, KernelConv)]
        if layers:
            rows[name] = layers[0].make_kernel().float().cpu()
    if not rows:
        return None
    figure = Figure(figsize=(1.5 * channels + 1, 1.6 * len(rows)), layout='constrained')
    axes = figure.subplots(len(rows), channels, squeeze=False)
    for line, (name, kernel) in zip(axes, rows.items()):
        kernel = kernel.flatten(0, 1).numpy()
        scale = float(np.abs(kernel).max()) or 1.0
        chosen = np.linspace(0, len(kernel) - 1, channels).round().astype(int)
        for axis, index in zip(line, chosen):
            draw_kernel(axis, kernel[index], scale)
        line[0].set_ylabel(name)
    return figure
