"""Effective receptive fields.

Luo et al., "Understanding the effective receptive field in deep convolutional
neural networks", NeurIPS 2016; measured as by Ding et al., "Scaling up your
kernels to 31x31" (RepLKNet), CVPR 2022, and Kirchmeyer and Deng, "Convolutional
networks with oriented 1D kernels", ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from smpconv_mm.errors import UsageError

from .maps import choose_map, recorded_maps

THRESHOLDS = (0.2, 0.3, 0.5, 0.99)
# lines of their squares
_STYLES = (':', '-.', '--', '-')


@dataclass
class Area:
    """The smallest centred square that holds a share of a receptive field.

    Attributes:
        threshold (float): The share, between 0 and 1.
        side (int, optional): Side of the square in pixels; None if the largest
            centred square holds less.
        ratio (float, optional): Area of the square over that of the input.
    """

    threshold: float
    side: int | None
    ratio: float | None


def receptive_field(
    network: nn.Module, images: Iterable[Tensor], layer: str | None = None
) -> Tensor:
    """Measure what the centre of the last map depends on.

    For each image: the gradient of the sum over channels of ReLU of the map at
    its centre (h // 2, w // 2) with respect to the input; of this gradient the
    positive part, summed over the channels of the input. Then the mean over
    images, without those where it is not a number. The network is put in eval
    mode.

    Args:
        network (nn.Module): A backbone, or any network of images.
        images (Iterable[Tensor]): Inputs (1, C, H, W), all of one size.
        layer (str, optional): Module whose map it is. Defaults to None: the
            last map.

    Returns:
        Tensor: (H, W), float64.

    Raises:
        UsageError: If there is no such map, or nothing reaches its centre.
    """
    network.eval()
    total, number = 0, 0
    for image in images:
        image = image.detach().requires_grad_()
        with recorded_maps(network) as maps:
            network(image)
        found = maps[choose_map(maps, layer)]
        height, width = found.shape[-2:]
        centre = found[:, :, height // 2, width // 2].relu().sum()
        (gradient,) = torch.autograd.grad(centre, image)
        field = gradient.relu().sum((0, 1)).double().cpu()
        if field.sum().isfinite():
            total, number = total + field, number + 1
    if not number or not total.sum() > 0:
        raise UsageError(
            f'{number} images gave a finite field, and nothing of them reaches the '
            'centre of the map: all its channels are zero or negative there, or the '
            'weights are not numbers; take more images or a trained checkpoint'
        )
    return total / number


def contributions(field: Tensor) -> Tensor:
    """Scale a field for looking at it: log10(field + 1), the largest is 1."""
    scaled = (field + 1).log10()
    return scaled / scaled.max()


def area_ratios(field: Tensor, thresholds: Sequence[float] = THRESHOLDS) -> list[Area]:
    """Find how much of the input holds which share of a field.

    Shares are those of :func:`contributions`; squares have the sides 3, 5, ...
    around (H // 2, W // 2) and must hold more than the threshold.

    Args:
        field (Tensor): (H, W), from :func:`receptive_field`.
        thresholds (Sequence[float]): Shares between 0 and 1. Defaults to
            0.2, 0.3, 0.5 and 0.99.
    """
    height, width = field.shape
    share = contributions(field)
    rows = (torch.arange(height) - height // 2).abs()
    columns = (torch.arange(width) - width // 2).abs()
    distance = torch.maximum(rows[:, None], columns)
    rings = torch.bincount(distance.flatten(), weights=share.flatten())
    within = rings.cumsum(0) / share.sum()
    areas = []
    for threshold in thresholds:
        fits = (within[: min(height, width) // 2] > threshold).nonzero()
        if not len(fits):
            areas.append(Area(threshold, None, None))
            continue
        side = 2 * max(int(fits[0]), 1) + 1
        areas.append(Area(threshold, side, side * side / (height * width)))
    return areas


def draw_fields(fields: dict[str, Tensor]) -> Figure:
    """Draw receptive fields side by side, with the squares of their areas.

    Colours follow the square root of :func:`contributions`; the legend says which
    share of them is within a square.

    Args:
        fields (dict[str, Tensor]): Titles and fields (H, W).
    """
    figure = Figure(figsize=(3.6 * len(fields) + 0.5, 4.2), layout='constrained')
    axes = figure.subplots(1, len(fields), squeeze=False)[0]
    for axis, (title, field) in zip(axes, fields.items()):
        height, width = field.shape
        shown = axis.imshow(
            contributions(field).numpy(), cmap='viridis', norm=PowerNorm(0.5, 0, 1)
        )
        for area, style in zip(area_ratios(field), _STYLES):
            if area.side is None:
                continue
            left, top = (size // 2 - area.side / 2 for size in (width, height))
            axis.add_patch(
                Rectangle(
                    (left, top),
                    area.side,
                    area.side,
                    fill=False,
                    color='w',
                    linewidth=1,
                    linestyle=style,
                    label=f'{area.threshold:.0%} within {area.side}x{area.side}',
                )
            )
        axis.set_title(title, fontsize=9)
        axis.set(xticks=[0, width - 1], yticks=[0, height - 1])
        axis.set_xlabel('pixel of the input', fontsize=7, labelpad=-4)
        axis.tick_params(labelsize=6)
        legend = axis.legend(
            loc='upper center',
            bbox_to_anchor=(0.5, -0.07),
            ncols=2,
            fontsize=7,
            facecolor='0.4',
            labelcolor='w',
        )
        legend.set_in_layout(True)
    bar = figure.colorbar(shown, ax=list(axes), fraction=0.04, pad=0.02)
    bar.set_label('log10(field + 1), the largest is 1', fontsize=7)
    bar.ax.tick_params(labelsize=6)
    return figure
