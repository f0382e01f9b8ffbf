"""Pictures of data and of mistakes."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.dataset import BaseDataset
from mmpretrain.evaluation import ConfusionMatrix


def draw_samples(dataset: BaseDataset, number: int = 24, bgr: bool = False) -> Figure:
    """Draw samples of a dataset as the model gets them, with their labels.

    Args:
        dataset (BaseDataset): Dataset of a classifier.
        number (int): How many, spread evenly over the dataset. Images are drawn
            as pictures, sequences (C, L) as lines.
        bgr (bool): Whether the channels of images are in OpenCV's order.
            Defaults to False.
    """
    classes = dataset.metainfo.get('classes')
    number = min(number, len(dataset))
    columns = min(8, number)
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(1.5 * columns, 1.7 * rows), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis in axes:
        axis.set_axis_off()
    indices = np.linspace(0, len(dataset) - 1, number).round().astype(int)
    for axis, index in zip(figure.axes, indices):
        sample = dataset[int(index)]
        data = sample['inputs']
        if data.dim() == 3:
            axis.imshow(as_picture(data, bgr), cmap='gray')
        else:
            axis.plot(data.float().numpy().T, linewidth=0.7)
        label = int(sample['data_samples'].gt_label[0])
        axis.set_title(classes[label] if classes else label, fontsize=8)
    return figure


def as_picture(x: torch.Tensor, bgr: bool) -> np.ndarray:
    """An input (C, H, W) of a network as a picture (H, W, C) from 0 to 1, float32.

    Args:
        x (torch.Tensor): What the pipeline made of an image.
        bgr (bool): Whether its channels are in OpenCV's order; the picture is RGB.
    """
    image = x.float().numpy().transpose(1, 2, 0)
    if bgr:
        image = image[..., ::-1]
    low, high = image.min(), image.max()
    return ((image - low) / max(high - low, 1e-6)).astype(np.float32)


def draw_confusion(matrix: torch.Tensor, classes: list[str] | None = None) -> Figure:
    """Draw a confusion matrix (rows true, columns predicted)."""
    return ConfusionMatrix.plot(
        matrix, include_values=len(matrix) <= 20, classes=classes
    )
