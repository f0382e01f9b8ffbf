"""Pictures of kernels that depend on the input."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmengine.model import BaseModel
from torch import Tensor, nn

from smpconv_mm.layers import Involution2d

from .kernels import layers_inside, short_name


@torch.no_grad()
def draw_input_kernels(
    model: nn.Module,
    x: Tensor,
    picture: np.ndarray,
    max_layers: int = 4,
    groups: int = 3,
    places: int = 6,
    layer: str | None = None,
) -> Figure:
    """Draw the kernels that involutions make for an image, one row per layer.

    The first panel of a row shows the kernels of the first group over the image, each
    at the place that it is for (red positive, blue negative). The second is the map
    of their energy: the sum of the squares of a place's numbers, the mean of all
    groups. The others show the sum of the numbers of single groups, as the figure of
    the paper does ("Involution", CVPR 2021). The gate of a C-volution is left out.

    Args:
        model (nn.Module): A backbone, or a classifier, detector or segmenter.
        x (Tensor): Normalised image (1, C, H, W).
        picture (np.ndarray): The image as it is to be shown, (H, W, 3).
        max_layers (int): Rows at most; evenly spaced over depth. Defaults to 4.
        groups (int): Groups per row at most, evenly spaced. Defaults to 3.
        places (int): Kernels along each axis of the image at most. Defaults to 6.
        layer (str, optional): Draw the layers inside of this one only, e.g.
            ``'layer2'``. Defaults to None: all.

    Returns:
        Figure: For :func:`smpconv_mm.visualization.save_figure`.

    Raises:
        ValueError: If the model has no involutions, or the layer none.
    """
    layers = layers_inside(model, (Involution2d,), layer, 'involutions')
    rows = np.unique(np.linspace(0, len(layers) - 1, max_layers).round().astype(int))
    layers = [layers[row] for row in rows]
    found: dict[str, Tensor] = {}

    def record(name):
        def hook(module, args, output):
            found[name] = module.make_kernels(args[0])[0].float().cpu()

        return hook

    handles = [m.register_forward_hook(record(name)) for name, m in layers]
    model.eval()
    try:
        if isinstance(model, BaseModel):
            model.extract_feat(x)
        else:
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    figure = Figure(
        figsize=(2.6 * (groups + 2), 2.5 * len(layers)), layout='constrained'
    )
    axes = figure.subplots(len(layers), groups + 2, squeeze=False)
    for row, (name, _) in zip(axes, layers):
        kernels = found[name]  # (G, K, K, P, Q)
        count, side, _, *size = kernels.shape
        row[0].set_title(
            f'{short_name(name)}\nkernels {side}x{side} for {size[0]}x{size[1]} places',
            fontsize=7,
            loc='left',
        )
        _draw_over(row[0], picture, kernels[0], places)
        maps = {'energy': kernels.square().sum((1, 2)).mean(0)}
        chosen = np.unique(np.linspace(0, count - 1, groups).round().astype(int))
        maps.update({f'sum, group {g}': kernels[g].sum((0, 1)) for g in chosen})
        for axis in row[1:]:
            axis.set_axis_off()
        for axis, (title, values) in zip(row[1:], maps.items()):
            if title == 'energy':
                shown = axis.imshow(values, cmap='viridis')
            else:
                scale = values.abs().max().clamp(min=1e-12).item()
                shown = axis.imshow(values, cmap='RdBu_r', vmin=-scale, vmax=scale)
            axis.set_title(title, fontsize=7)
            bar = figure.colorbar(shown, ax=axis, shrink=0.7)
            bar.ax.tick_params(labelsize=5)
    return figure


def _draw_over(axis: Axes, picture: np.ndarray, kernels: Tensor, places: int) -> None:
    """Draw the kernels (K, K, P, Q) of some places over a pale image."""
    height, width = picture.shape[:2]
    axis.imshow(picture, alpha=0.6, extent=(0, width, height, 0))
    chosen = [
        ((np.arange(min(places, n)) + 0.5) * n / min(places, n)).astype(int)
        for n in kernels.shape[2:]
    ]
    drawn = kernels[:, :, chosen[0]][..., chosen[1]]
    scale = drawn.abs().max().clamp(min=1e-12).item()
    half = 0.34 * min(height / len(chosen[0]), width / len(chosen[1]))
    for i, p in enumerate(chosen[0]):
        for j, q in enumerate(chosen[1]):
            y = (p + 0.5) * height / kernels.shape[2]
            x = (q + 0.5) * width / kernels.shape[3]
            axis.imshow(
                drawn[:, :, i, j],
                cmap='RdBu_r',
                vmin=-scale,
                vmax=scale,
                interpolation='nearest',
                extent=(x - half, x + half, y + half, y - half),
                zorder=2,
            )
    axis.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
