"""Pictures of kernels and of the points that make them."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from torch import nn

from smpconv_mm.layers import SMPKernel


@torch.no_grad()
def draw_kernels(model: nn.Module, max_layers: int = 8, channels: int = 5) -> Figure:
    """Draw SMP kernels of a model, one row per layer.

    The first panel of a row shows the points: for 2-D kernels each as the
    diamond of its radius around its position, the frame being the kernel; for
    1-D and 3-D along the first axis. The colour of a diamond is the mean over
    channels of the weight of the point (red positive, blue negative). The other
    panels show the kernel of single channels (of a 3-D kernel the middle slice),
    all of a row in one scale.

    Args:
        model (nn.Module): Any network in training form.
        max_layers (int): Rows at most; evenly spaced over depth. Defaults to 8.
        channels (int): Channels per row, evenly spaced. Defaults to 5.

    Returns:
        Figure: For :func:`smpconv_mm.visualization.save_figure`.

    Raises:
        ValueError: If the model has no SMP kernel (deploy form).
    """
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, SMPKernel)]
    if not layers:
        raise ValueError(
            f'{type(model).__name__} has no SMP kernels to draw; a deploy form has '
            'none, give the training form'
        )
    rows = np.unique(np.linspace(0, len(layers) - 1, max_layers).round().astype(int))
    figure = Figure(
        figsize=(2.1 * (channels + 1), 2.3 * len(rows)), layout='constrained'
    )
    axes = figure.subplots(len(rows), channels + 1, squeeze=False)
    for row, index in zip(axes, rows):
        name, layer = layers[index]
        kernel = layer.make_kernel().float().cpu().numpy()
        kernel = kernel.reshape(-1, *layer.kernel_size)
        chosen = np.linspace(0, len(kernel) - 1, channels).round().astype(int)
        scale = max(abs(kernel[chosen]).max(), 1e-12)
        _draw_points(row[0], layer)
        size = 'x'.join(map(str, layer.kernel_size))
        row[0].set_title(
            f'{short_name(name)}\n{layer.n_points} points, {size}',
            fontsize=7,
            loc='left',
        )
        for axis, channel in zip(row[1:], chosen):
            image = _draw_kernel(axis, kernel[channel], scale)
            axis.set_title(f'kernel {channel}', fontsize=7)
        if image is not None:
            _bar(image, row[-1], 'weight of a tap')
    return figure


def _bar(shown: ScalarMappable, axis: Axes, label: str) -> None:
    bar = axis.figure.colorbar(shown, ax=axis, fraction=0.06, pad=0.03)
    bar.set_label(label, fontsize=6)
    bar.locator = MaxNLocator(3)
    bar.ax.tick_params(labelsize=6)


def short_name(name: str) -> str:
    """Name of a layer without the parts that all SMP layers share."""
    for tail in ('.kernel', '.conv', '.smp', '.large_kernel'):
        name = name.removesuffix(tail)
    return name.removeprefix('backbone.')


def _draw_points(axis: Axes, layer: SMPKernel) -> None:
    coord = layer.coord[0].float().cpu().numpy()
    radius = layer.radius[0].float().cpu().numpy()
    weight = layer.weight[0].float().mean(0).cpu().numpy()
    scale = max(abs(weight).max(), 1e-12)
    if layer.ndim == 2:
        corners = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
        diamonds = coord[:, None] + radius[:, None, None] * corners
        shapes = PolyCollection(
            diamonds, array=weight, cmap='RdBu_r', clim=(-scale, scale), alpha=0.35
        )
        axis.add_collection(shapes)
        axis.plot(*coord.T, 'k.', markersize=1.5)
        axis.plot([-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1], 'k-', linewidth=0.8)
        reach = max(1.1, np.abs(diamonds).max())
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect='equal')
        axis.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
        _bar(shapes, axis, 'mean weight of a point')
        names = 'x', 'y'
    else:
        axis.errorbar(
            coord[:, 0], weight, xerr=radius, fmt='k.', markersize=3, linewidth=0.6
        )
        axis.axvspan(-1, 1, color='0.93', zorder=0)
        names = 'position and radius', 'mean weight of a point'
    axis.set_xlabel(names[0], fontsize=6, labelpad=1)
    axis.set_ylabel(names[1], fontsize=6, labelpad=1)
    axis.tick_params(labelsize=6)


def _draw_kernel(axis: Axes, kernel: np.ndarray, scale: float) -> AxesImage | None:
    axis.tick_params(labelsize=6)
    if kernel.ndim == 1:
        axis.plot(np.arange(len(kernel)), kernel, linewidth=0.8)
        axis.axhline(0, color='0.7', linewidth=0.5)
        axis.set_ylim(-1.05 * scale, 1.05 * scale)
        axis.set_xlabel('tap', fontsize=6, labelpad=1)
        axis.set_ylabel('weight of a tap', fontsize=6, labelpad=1)
        return None
    if kernel.ndim == 3:
        kernel = kernel[len(kernel) // 2]
    height, width = kernel.shape
    axis.set(xticks=[0, width - 1], yticks=[0, height - 1])
    return axis.imshow(
        kernel, cmap='RdBu_r', vmin=-scale, vmax=scale, interpolation='nearest'
    )
