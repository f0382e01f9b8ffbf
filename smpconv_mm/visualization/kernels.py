"""Pictures of kernels and of the points that make them."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from smpconv_mm.layers import CKKernel, FlexKernel, SMPKernel


@torch.no_grad()
def draw_kernels(model: nn.Module, max_layers: int = 8, channels: int = 5) -> Figure:
    """Draw kernels of points, or made by networks, one row per layer.

    The first panel of a row shows what makes the kernel. Points of an SMP kernel: in
    2-D each as the diamond of its radius around its position, the frame being the
    kernel; in 1-D and 3-D along the first axis. Colour is the mean weight (red
    positive, blue negative). Of a FlexKernel: its mask over the whole kernel, and a
    frame around the taps that are kept. The other panels show the kernel of single
    channels, cropped (of a 3-D kernel the middle slice).

    Args:
        model (nn.Module): Any network in training form.
        max_layers (int): Rows at most; evenly spaced over depth. Defaults to 8.
        channels (int): Channels per row, evenly spaced. Defaults to 5.

    Returns:
        Figure: For :func:`smpconv_mm.visualization.save_figure`.

    Raises:
        ValueError: If the model has no such kernel (deploy form).
    """
    kinds = SMPKernel, CKKernel
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, kinds)]
    if not layers:
        raise ValueError(
            f'{type(model).__name__} has no kernels of points or networks to draw; a '
            'deploy form has none, give the training form'
        )
    rows = np.unique(np.linspace(0, len(layers) - 1, max_layers).round().astype(int))
    figure = Figure(
        figsize=(2.1 * (channels + 1), 2.3 * len(rows)), layout='constrained'
    )
    axes = figure.subplots(len(rows), channels + 1, squeeze=False)
    for row, index in zip(axes, rows):
        name, layer = layers[index]
        kernel = layer.make_kernel().float().cpu().numpy()
        kernel = kernel.reshape(-1, *kernel.shape[2:])
        size = 'x'.join(map(str, kernel.shape[1:]))
        if isinstance(layer, SMPKernel):
            _draw_points(row[0], layer)
            made_by = f'{layer.n_points} points, {size}'
        else:
            _draw_mask(row[0], layer)
            whole = 'x'.join(map(str, layer.kernel_size))
            made_by = f'{type(layer.net).__name__}, {size} of {whole}'
        row[0].set_title(f'{short_name(name)}\n{made_by}', fontsize=7, loc='left')
        chosen = np.linspace(0, len(kernel) - 1, channels).round().astype(int)
        for axis, channel in zip(row[1:], chosen):
            _draw_kernel(axis, kernel[channel])
            axis.set_title(f'kernel {channel}', fontsize=7)
    return figure


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
    else:
        axis.errorbar(
            coord[:, 0], weight, xerr=radius, fmt='k.', markersize=3, linewidth=0.6
        )
        axis.axvspan(-1, 1, color='0.93', zorder=0)
    axis.tick_params(labelsize=6)


def _draw_mask(axis: Axes, layer: CKKernel) -> None:
    if not isinstance(layer, FlexKernel):
        axis.set_axis_off()  # nothing but the network
        return
    axes = [torch.linspace(-1, 1, n) for n in layer.kernel_size]
    mask = layer.window(axes).float().cpu().numpy()
    kept = layer.kept_taps()
    axis.tick_params(labelsize=6)
    if layer.ndim == 1:
        axis.plot(axes[0], mask, linewidth=0.8)
        first, last = axes[0][kept[0][0]], axes[0][kept[0][1] - 1]
        axis.axvspan(float(first), float(last), color='0.9', zorder=0)
        axis.set(xlim=(-1.05, 1.05), ylim=(0, 1.05))
        return
    if layer.ndim == 3:
        mask, kept = mask[len(mask) // 2], kept[1:]
    axis.imshow(mask, cmap='Greys', vmin=0, vmax=1, interpolation='nearest')
    (top, bottom), (left, right) = kept
    corner, size = (left - 0.5, top - 0.5), (right - left, bottom - top)
    axis.add_patch(Rectangle(corner, *size, fill=False, edgecolor='#e31a1c'))


def _draw_kernel(axis: Axes, kernel: np.ndarray) -> None:
    if kernel.ndim == 1:
        axis.plot(np.linspace(-1, 1, len(kernel)), kernel, linewidth=0.8)
        axis.axhline(0, color='0.7', linewidth=0.5)
        axis.tick_params(labelsize=6)
        return
    if kernel.ndim == 3:
        kernel = kernel[len(kernel) // 2]
    scale = max(abs(kernel).max(), 1e-12)
    axis.imshow(kernel, cmap='RdBu_r', vmin=-scale, vmax=scale, interpolation='nearest')
    axis.set(xticks=[], yticks=[])
