"""Pictures of data and of mistakes."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmpretrain.evaluation import ConfusionMatrix


def draw_samples(cfg: Config, phase: str = 'train', number: int = 24) -> Figure:
    """Draw samples of a dataset as the model gets them, with their labels.

    Args:
        cfg (Config): Config of a classifier.
        phase (str): ``'train'``, ``'val'`` or ``'test'``.
        number (int): How many, spread evenly over the dataset. Images are drawn
            as pictures, sequences (C, L) as lines.
    """
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    dataset = DATASETS.build(cfg[f'{phase}_dataloader'].dataset)
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
        data = sample['inputs'].float().numpy()
        if data.ndim == 3:
            data = data.transpose(1, 2, 0)
            if cfg.get('data_preprocessor', {}).get('to_rgb', False):
                data = data[..., ::-1]  # the pipeline keeps OpenCV's BGR
            low, high = data.min(), data.max()
            axis.imshow((data - low) / max(high - low, 1e-6), cmap='gray')
        else:
            axis.plot(data.T, linewidth=0.7)
        label = int(sample['data_samples'].gt_label[0])
        axis.set_title(classes[label] if classes else label, fontsize=8)
    return figure


def draw_confusion(matrix: torch.Tensor, classes: list[str] | None = None) -> Figure:
    """Draw a confusion matrix (rows true, columns predicted)."""
    return ConfusionMatrix.plot(
        matrix, include_values=len(matrix) <= 20, classes=classes
    )
