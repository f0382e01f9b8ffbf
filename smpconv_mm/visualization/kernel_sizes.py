"""Pictures of the sizes that kernels have learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import nn

from smpconv_mm.layers import FlexKernel

from .kernels import short_name


@torch.no_grad()
def draw_kernel_sizes(model: nn.Module) -> Figure:
    """Draw the learned size of every layer, in the order of layers.

    Bars are the taps that are kept along each axis; the line above is all of
    ``kernel_size``, dots are the standard deviations of the masks (on the right).

    Args:
        model (nn.Module): Any network in training form.

    Returns:
        Figure: For :func:`smpconv_mm.visualization.save_figure`.

    Raises:
        ValueError: If the model has no FlexKernel (deploy form).
    """
    kernels = [(n, m) for n, m in model.named_modules() if isinstance(m, FlexKernel)]
    if not kernels:
        raise ValueError(
            f'{type(model).__name__} has no kernels of learned size to draw; a deploy '
            'form has none, give the training form'
        )
    figure = Figure(figsize=(max(4, 0.55 * len(kernels)), 3.4), layout='constrained')
    axis = figure.subplots()
    other = axis.twinx()
    places = np.arange(len(kernels))
    ndim = kernels[0][1].ndim
    for a in range(ndim):
        taps = [m.kept_taps()[a][1] - m.kept_taps()[a][0] for _, m in kernels]
        label = 'taps' if ndim == 1 else f'taps, axis {a}'
        shift = (a - (ndim - 1) / 2) * 0.8 / ndim
        axis.bar(places + shift, taps, 0.7 / ndim, label=label)
        sigma = [float(m.mask_params[a, 1].abs()) for _, m in kernels]
        other.plot(places + shift, sigma, 'k.', markersize=4)
    full = [max(m.kernel_size) for _, m in kernels]
    axis.step(places, full, 'k--', where='mid', linewidth=0.8, label='kernel_size')
    names = [short_name(n) for n, _ in kernels]
    axis.set_xticks(places, names, rotation=90, fontsize=6)
    axis.set_ylabel('taps')
    axis.set_ylim(0, 1.15 * max(full))
    other.set_ylabel('sigma of the mask (dots)')
    other.set_ylim(bottom=0)
    axis.legend(fontsize=7, loc='upper left', ncols=ndim + 1)
    return figure


def draw_size_growth(
    epochs: Sequence[int],
    sizes: Mapping[str, Sequence[Sequence[int]]],
    full: Mapping[str, Sequence[int]],
) -> Figure:
    """Draw learned sizes over epochs, a line a layer and axis.

    Args:
        epochs (Sequence[int]): When they were recorded, T numbers.
        sizes (Mapping): For the names of kernels T sizes, each the taps per axis.
        full (Mapping): The whole ``kernel_size`` of each.

    Returns:
        Figure: For :func:`smpconv_mm.visualization.save_figure`.

    Raises:
        ValueError: If ``sizes`` is empty.
    """
    if not sizes:
        raise ValueError('sizes names no kernel; there is nothing to draw')
    figure = Figure(figsize=(6, 3.6), layout='constrained')
    axis = figure.subplots()
    colours = colormaps['viridis'](np.linspace(0, 0.95, len(sizes)))
    for colour, (name, values) in zip(colours, sizes.items()):
        for number, taps in enumerate(zip(*values)):
            style = ('-', '--', ':')[number]
            label = short_name(name) if number == 0 else None
            axis.plot(epochs, taps, style, color=colour, linewidth=1, label=label)
    top = max(max(size) for size in full.values())
    axis.axhline(top, color='k', linewidth=0.8)
    axis.set(xlabel='epoch', ylabel='taps along an axis', ylim=(0, 1.05 * top))
    figure.legend(fontsize=6, loc='outside right upper')
    return figure
