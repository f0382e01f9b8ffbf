"""Pictures of kernels and of the points, lines or masks that make them."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import nn

from smpconv_mm.layers import CKKernel, FlexKernel, OrientedKernel, SMPKernel
from smpconv_mm.ops.oriented_conv import dense_kernel
from smpconv_mm.ops.reference import line_offsets


@torch.no_grad()
def draw_kernels(
    model: nn.Module, max_layers: int = 8, channels: int = 5, layer: str | None = None
) -> Figure:
    """Draw kernels of points, lines or networks of a model, one row per layer.

    The first panel of a row shows what makes the kernels. Of SMP kernels these are
    the points: for 2-D kernels each as the diamond of its radius around its position,
    the frame being the kernel; for 1-D and 3-D along the first axis. Of oriented
    kernels they are the lines, and the taps at the pixels where they lie. Colour is
    the mean weight over channels, of oriented kernels over the channels of a direction
    (red positive, blue negative). Of a FlexKernel it is the mask over the whole
    kernel, with a frame around the taps that are kept.

    The other panels show the kernel of single channels (of a 3-D kernel the middle
    slice; of an oriented kernel without the residual), all of a row in one scale. With
    8 channels of a layer whose channels are a multiple of 8, oriented kernels show
    every direction.

    Args:
        model (nn.Module): Any network in training form.
        max_layers (int): Rows at most; evenly spaced over depth. Defaults to 8.
        channels (int): Channels per row, evenly spaced. Defaults to 5.
        layer (str, optional): Draw the layers inside of this one only, e.g.
            ``'stages.0'``. Defaults to None: all.

    Returns:
        Figure: For :func:`smpconv_mm.visualization.save_figure`.

    Raises:
        ValueError: If the model has no such kernels (deploy form), or the layer none.
    """
    kinds = (SMPKernel, OrientedKernel, CKKernel)
    what = 'kernels of points, lines or networks'
    layers = layers_inside(model, kinds, layer, what)
    rows = np.unique(np.linspace(0, len(layers) - 1, max_layers).round().astype(int))
    figure = Figure(
        figsize=(2.1 * (channels + 1), 2.3 * len(rows)), layout='constrained'
    )
    axes = figure.subplots(len(rows), channels + 1, squeeze=False)
    for row, index in zip(axes, rows):
        name, maker = layers[index]
        size = 'x'.join(map(str, maker.kernel_size))
        if isinstance(maker, SMPKernel):
            kernel = maker.make_kernel()
            what = f'{maker.n_points} points, {size}'
            _draw_points(row[0], maker)
        elif isinstance(maker, CKKernel):
            kernel = maker.make_kernel()
            taps = 'x'.join(map(str, kernel.shape[2:]))
            what = f'{type(maker.net).__name__}, {taps} of {size}'
            _draw_mask(row[0], maker)
        else:
            kernel = dense_kernel(maker.weight.float(), maker.angle)
            what = f'{maker.weight.shape[-1]} taps on lines, {size}'
            _draw_lines(row[0], maker)
        row[0].set_title(f'{short_name(name)}\n{what}', fontsize=7, loc='left')
        kernel = kernel.float().cpu().numpy().reshape(-1, *kernel.shape[2:])
        chosen = np.linspace(0, len(kernel) - 1, channels).round().astype(int)
        scale = max(abs(kernel[chosen]).max(), 1e-12)
        for axis, channel in zip(row[1:], chosen):
            image = draw_kernel(axis, kernel[channel], scale)
            title = f'kernel {channel}'
            if isinstance(maker, OrientedKernel):
                angle = maker.angle[channel // maker.in_channels]
                title += f', {np.degrees(float(angle)):.4g}°'
            axis.set_title(title, fontsize=7)
        if image is not None:
            _bar(image, row[-1], 'weight of a tap')
    return figure


def _bar(shown: ScalarMappable, axis: Axes, label: str) -> None:
    bar = axis.figure.colorbar(shown, ax=axis, fraction=0.06, pad=0.03)
    bar.set_label(label, fontsize=6)
    bar.locator = MaxNLocator(3)
    bar.ax.tick_params(labelsize=6)


def _name(axis: Axes, x: str, y: str) -> None:
    axis.set_xlabel(x, fontsize=6, labelpad=1)
    axis.set_ylabel(y, fontsize=6, labelpad=1)
    axis.tick_params(labelsize=6)


def layers_inside(
    model: nn.Module, kinds: tuple[type, ...], layer: str | None, what: str
) -> list[tuple[str, nn.Module]]:
    """Find the layers of some kinds, of the whole model or inside of one layer.

    Args:
        model (nn.Module): Any network.
        kinds (tuple[type, ...]): Classes of the layers.
        layer (str, optional): A layer, or the first parts of a layer's name.
        what (str): What the kinds are called, for messages.

    Raises:
        ValueError: If there are none.
    """
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, kinds)]
    if not layers:
        raise ValueError(
            f'{type(model).__name__} has no {what} to draw; a deploy form has none, '
            'give the training form'
        )
    names = [short_name(name) for name, _ in layers]
    found = [
        pair
        for pair, name in zip(layers, names)
        if layer is None or f'{name}.'.startswith(f'{layer}.')
    ]
    if not found:
        raise ValueError(
            f'{layer!r} has no kernels to draw; layers that do are {names[:3]} ...'
        )
    return found


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
    _name(axis, *names)


def _draw_lines(axis: Axes, layer: OrientedKernel) -> None:
    taps = layer.weight.shape[-1]
    angles, direction = layer.angle.cpu().unique(return_inverse=True)
    weight = layer.weight.float().cpu().mean((1, 2))
    mean = torch.stack([weight[direction == d].mean(0) for d in range(len(angles))])
    scale = mean.abs().max().clamp(min=1e-12).item()
    offsets = line_offsets(angles, taps)  # rows downwards
    reach = taps // 2
    for angle in angles.tolist():
        x, y = reach * np.cos(angle), reach * np.sin(angle)
        axis.plot([-x, x], [y, -y], color='0.8', linewidth=0.6, zorder=0)
    shown = axis.scatter(
        offsets[..., 1].flatten(),
        offsets[..., 0].flatten(),
        s=min(12, 240 / taps),
        c=mean.flatten(),
        cmap='RdBu_r',
        clim=(-scale, scale),
        edgecolors='k',
        linewidths=0.2,
    )
    frame = reach + 1
    axis.set(xlim=(-frame, frame), ylim=(frame, -frame), aspect='equal')
    _bar(shown, axis, 'mean weight of a tap')
    _name(axis, 'column from the middle', 'row')


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
        _name(axis, 'position', 'mask')
        return
    if layer.ndim == 3:
        mask, kept = mask[len(mask) // 2], kept[1:]
    shown = axis.imshow(mask, cmap='Greys', vmin=0, vmax=1, interpolation='nearest')
    _bar(shown, axis, 'mask')
    (top, bottom), (left, right) = kept
    corner, size = (left - 0.5, top - 0.5), (right - left, bottom - top)
    axis.add_patch(Rectangle(corner, *size, fill=False, edgecolor='#e31a1c'))


def draw_kernel(axis: Axes, kernel: np.ndarray, scale: float) -> AxesImage | None:
    """Draw one kernel; colours, or the vertical axis, reach from -scale to scale."""
    axis.tick_params(labelsize=6)
    if kernel.ndim == 1:
        axis.plot(np.arange(len(kernel)), kernel, linewidth=0.8)
        axis.axhline(0, color='0.7', linewidth=0.5)
        axis.set_ylim(-1.05 * scale, 1.05 * scale)
        _name(axis, 'tap', 'weight of a tap')
        return None
    if kernel.ndim == 3:
        kernel = kernel[len(kernel) // 2]
    height, width = kernel.shape
    axis.set(xticks=[0, width - 1], yticks=[0, height - 1])
    return axis.imshow(
        kernel, cmap='RdBu_r', vmin=-scale, vmax=scale, interpolation='nearest'
    )
