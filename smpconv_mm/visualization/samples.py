"""Pictures of data and of mistakes."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mmengine.dataset import BaseDataset
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer


def draw_samples(
    dataset: BaseDataset,
    number: int = 24,
    bgr: bool = False,
    visualizer: Visualizer | None = None,
) -> Figure:
    """Draw samples of a dataset as the model gets them, with their labels.

    Args:
        dataset (BaseDataset): Dataset of a classifier, detector or segmenter.
        number (int): How many, spread evenly over the dataset. Images are drawn
            as pictures, sequences (C, L) as lines.
        bgr (bool): Whether the channels of images are in OpenCV's order.
            Defaults to False.
        visualizer (Visualizer, optional): Draws boxes, masks and segments; see
            ``smpconv_mm.engine.runner.build_visualizer``. Defaults to None:
            for datasets of classifiers.
    """
    classes = dataset.metainfo.get('classes')
    number = min(number, len(dataset))
    columns = min(8, number)
    rows = math.ceil(number / columns)
    side = 1.5 if visualizer is None else 2.5
    figure = Figure(figsize=(side * columns, (side + 0.2) * rows), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis in axes:
        axis.set_axis_off()
    indices = np.linspace(0, len(dataset) - 1, number).round().astype(int)
    for axis, index in zip(figure.axes, indices):
        sample = dataset[int(index)]
        data, label = sample['inputs'], sample['data_samples']
        if data.dim() != 3:
            axis.plot(data.float().numpy().T, linewidth=0.7)
        elif 'gt_label' in label:
            axis.imshow(as_picture(data, bgr), cmap='gray')
        else:
            image = (255 * as_picture(data, bgr)).round().astype(np.uint8)
            axis.imshow(draw_annotated(visualizer, image, label, truth=True))
        if 'gt_label' in label:
            names = [classes[i] if classes else i for i in label.gt_label.tolist()]
            axis.set_title(', '.join(map(str, names)), fontsize=8)
    return figure


def draw_annotated(
    visualizer: Visualizer,
    image: np.ndarray,
    sample: BaseDataElement,
    truth: bool = False,
    score_thr: float = 0.3,
) -> np.ndarray:
    """Draw classes, boxes, masks or segments on an image.

    Args:
        visualizer (Visualizer): Of the package of the sample.
        image (np.ndarray): (H, W, 3) uint8, RGB.
        sample (BaseDataElement): Data sample with annotations or predictions.
        truth (bool): Draw the annotations instead of what was predicted.
            Defaults to False.
        score_thr (float): Boxes of lower scores are not drawn. Defaults to 0.3.

    Returns:
        np.ndarray: (H, W, 3) uint8, RGB; images of classifiers are enlarged, so
        that text can be read.
    """
    drawn = []
    # visualizers hand what they drew to the places that they write to
    visualizer.add_image = lambda name, image, step=0: drawn.append(image)
    what = dict(draw_gt=truth, draw_pred=not truth)
    image = np.ascontiguousarray(image)
    if 'gt_label' in sample or 'pred_label' in sample:
        what['resize'] = max(256, *image.shape[:2])
        visualizer.visualize_cls(image, sample, **what)
        return drawn[0]
    boxes = getattr(sample.get('gt_instances'), 'bboxes', None)
    if hasattr(boxes, 'tensor'):  # mmdet draws plain tensors
        instances = sample.gt_instances.clone()
        instances.bboxes = boxes.tensor
        sample = sample.clone()
        sample.gt_instances = instances
    if 'pred_instances' in sample:
        what['pred_score_thr'] = score_thr
    visualizer.add_datasample('picture', image, sample, **what)
    return drawn[0]


def as_picture(x: torch.Tensor, bgr: bool) -> np.ndarray:
    """An input (C, H, W) of a network as a picture (H, W, C) from 0 to 1, float32.

    Args:
        x (torch.Tensor): What the pipeline made of an image: numbers from 0 to 255,
            or any others, which are scaled.
        bgr (bool): Whether its channels are in OpenCV's order; the picture is RGB.
    """
    image = x.float().numpy().transpose(1, 2, 0)
    if bgr:
        image = image[..., ::-1]
    if x.dtype == torch.uint8:
        return (image / 255).astype(np.float32)
    low, high = image.min(), image.max()
    return ((image - low) / max(high - low, 1e-6)).astype(np.float32)


def draw_confusion(matrix: torch.Tensor, classes: list[str] | None = None) -> Figure:
    """Draw a confusion matrix: what is right in blue, errors in red.

    Blue is the share of a class that is right, red the number of an error, darkest
    for the most frequent one. Numbers are written for up to 20 classes.

    Args:
        matrix (torch.Tensor): Counts (classes, classes), rows true, columns
            predicted.
        classes (list[str], optional): Names of the classes. Those that neither occur
            nor are predicted are left out.
    """
    counts = matrix.cpu().numpy()
    here = np.flatnonzero(counts.sum(0) + counts.sum(1))
    if not len(here):
        here = np.arange(len(counts))
    counts = counts[np.ix_(here, here)]
    names = [classes[i] if classes else str(i) for i in here]
    number = len(counts)
    side = min(max(4, 0.45 * number), 16)
    figure = Figure(figsize=(side + 2.4, side + 0.6), layout='constrained')
    axis = figure.subplots()
    diagonal = np.eye(number, dtype=bool)
    right = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    errors = np.where(diagonal, 0, counts)
    most = max(1, errors.max())
    for values, colours, largest, label in (
        (np.ma.masked_equal(errors, 0), 'Reds', most, 'wrong, number'),
        (np.ma.masked_where(~diagonal, right), 'Blues', 1, 'right, share of the class'),
    ):
        # the palest colours are left out, so that a single error is seen
        shown = axis.imshow(values, cmap=colours, vmin=-0.3 * largest, vmax=largest)
        bar = figure.colorbar(shown, ax=axis, fraction=0.04, pad=0.02)
        bar.set_label(label, fontsize=8)
        bar.ax.set_ylim(0, largest)
        bar.locator = MaxNLocator(5, integer=largest > 1)
        bar.ax.tick_params(labelsize=7)
    if number <= 20:
        depth = np.where(diagonal, right, errors / most)
        for row, column in zip(*np.nonzero(counts)):
            colour = 'w' if depth[row, column] > 0.5 else 'k'
            where = dict(ha='center', va='center', fontsize=7, color=colour)
            axis.text(column, row, counts[row, column], **where)
    if number <= 60:
        axis.set_xticks(range(number), names, rotation=90, fontsize=7)
        axis.set_yticks(range(number), names, fontsize=7)
    axis.set(xlabel='predicted', ylabel='true')
    return figure
