"""Classify image files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmpretrain import ImageClassificationInferencer
from rich.progress import track

from smpconv_mm.checkpoint import check_fits, load, state_dict_of
from smpconv_mm.engine.config import load_config
from smpconv_mm.errors import UsageError
from smpconv_mm.layers import keep_kernels


def predict(
    config: str,
    checkpoint: str,
    images: Sequence[str],
    topk: int = 5,
    device: str | None = None,
    options: dict | None = None,
) -> list[list[tuple[str, float]]]:
    """Classify image files.

    Args:
        config (str): Config file of a classifier.
        checkpoint (str): Its checkpoint; loaded strictly.
        images (Sequence[str]): Image files.
        topk (int): Classes per image. Defaults to 5.
        device (str, optional): Defaults to None: a GPU if there is one.
        options (dict, optional): Changes to the config.

    Returns:
        list[list[tuple[str, float]]]: For each image the ``topk`` names of
        classes and their probabilities, likeliest first.

    Raises:
        UsageError: If a file is missing or not an image.
        CheckpointError: If the checkpoint cannot be read or does not fit.
    """
    loaded = [read_image(path) for path in images]
    inferencer = load_classifier(load_config(config, options), checkpoint, device)
    classes = inferencer.classes
    results = []
    with torch.no_grad(), keep_kernels(inferencer.model.eval()):
        for image in track(loaded, description='predict', disable=len(loaded) < 20):
            (sample,) = inferencer(image, return_datasamples=True)
            scores = sample.pred_score
            values, indices = scores.topk(min(topk, len(scores)))
            results.append(
                [
                    (classes[i] if classes else str(i), value)
                    for i, value in zip(indices.tolist(), values.tolist())
                ]
            )
    return results


def load_classifier(
    cfg: Config, checkpoint: str, device: str | None = None
) -> ImageClassificationInferencer:
    """Build the inferencer of a classifier; it knows its ``classes``, or None.

    Raises:
        CheckpointError: If the checkpoint cannot be read or does not fit.
    """
    weights = load(checkpoint)
    inferencer = ImageClassificationInferencer(cfg, pretrained=False, device=device)
    state_dict = state_dict_of(weights)
    check_fits(inferencer.model, state_dict, checkpoint)
    inferencer.model.load_state_dict(state_dict)
    meta = weights.get('meta', {}).get('dataset_meta', {})
    inferencer.classes = meta.get('classes') or inferencer.classes
    return inferencer


def read_image(path: str) -> np.ndarray:
    """Read an image (H, W, 3), channels in OpenCV's order.

    Raises:
        UsageError: If the file is missing or not an image.
    """
    if not Path(path).is_file():
        raise UsageError(f'image {path!r} does not exist')
    image = mmcv.imread(path)
    if image is None:
        raise UsageError(f'{path!r} is not an image or is damaged; mend or remove it')
    return image
