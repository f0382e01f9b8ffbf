"""Predict image files with a classifier, a detector or a segmenter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import BaseDataElement

from smpconv_mm.engine.config import turns_channels
from smpconv_mm.engine.own_images import SUFFIXES
from smpconv_mm.engine.runner import (
    build_model,
    build_visualizer,
    classes_of,
)
from smpconv_mm.errors import UsageError
from smpconv_mm.layers import keep_kernels
from smpconv_mm.visualization import draw_annotated

from .inputs import as_sample, image_pipeline
from .models import choose_device


def task_of(cfg: Config) -> str:
    """``'classification'``, ``'detection'`` or ``'segmentation'``."""
    scopes = {'mmdet': 'detection', 'mmseg': 'segmentation'}
    return scopes.get(cfg.get('default_scope'), 'classification')


@dataclass
class Found:
    """A thing that was found in an image.

    Attributes:
        name (str): Its class.
        score (float): Probability of the class, of a segment the share of pixels.
        box (tuple[float, ...], optional): Left, top, right, bottom in pixels; of
            detectors only.
    """

    name: str
    score: float
    box: tuple[float, ...] | None = None


@dataclass
class Prediction:
    """What was found in an image, or why nothing could be.

    Attributes:
        path (str): The image file.
        found (list[Found]): Likeliest, or largest, first.
        sample (BaseDataElement, optional): The same as MMEngine's data sample.
        error (str, optional): Why there is none.
    """

    path: str
    found: list[Found] = field(default_factory=list)
    sample: BaseDataElement | None = None
    error: str | None = None


class Predictor:
    """A classifier, detector or segmenter of images with trained weights.

    Images go through the pipeline of ``test_dataloader`` without its
    annotations.

    Args:
        cfg (Config): Its config.
        checkpoint (str): Its checkpoint, in training or in deploy form.
        device (str, optional): Defaults to None: a GPU if there is one.

    Attributes:
        task (str): ``'classification'``, ``'detection'`` or ``'segmentation'``.
        model (nn.Module): The network, in eval mode.
        bgr (bool): Whether prepared images have their channels in OpenCV's order.
        classes (list[str], optional): Names of the classes: those of the checkpoint,
            else of the config's dataset.

    Raises:
        CheckpointError: If the checkpoint cannot be read or does not fit.
        UsageError: If the config is not of images, or the device does not exist.
    """

    def __init__(self, cfg: Config, checkpoint: str, device: str | None = None) -> None:
        device = choose_device(device)
        self.task = task_of(cfg)
        self.bgr = turns_channels(cfg)
        self.model = build_model(cfg, checkpoint).to(device).eval()
        if getattr(getattr(self.model, 'backbone', None), 'ndim', 2) != 2:
            raise UsageError(f'{cfg.filename} is of sequences, not of images')
        self.classes = classes_of(cfg, checkpoint)
        self.pipeline = image_pipeline(cfg)
        self._cfg, self._visualizer = cfg, None

    def prepare(self, image: np.ndarray) -> dict:
        """Bring an image to the network: a batch of one for its preprocessor.

        Args:
            image (np.ndarray): (H, W, 3), channels in OpenCV's order.
        """
        return pseudo_collate([self.pipeline(as_sample(image))])

    def __call__(self, image: np.ndarray) -> BaseDataElement:
        """Predict one image, (H, W, 3) in OpenCV's order; returns the data sample."""
        with torch.no_grad():
            (sample,) = self.model.test_step(self.prepare(image))
        return sample

    def read(self, sample: BaseDataElement) -> list[Found]:
        """What a data sample says, likeliest or largest first."""
        if self.task == 'detection':
            rows = sample.pred_instances
            scores, labels = rows.scores, rows.labels.tolist()
            boxes = [tuple(box) for box in rows.bboxes.tolist()]
        elif self.task == 'segmentation':
            counts = sample.pred_sem_seg.data.flatten().bincount()
            scores = counts / counts.sum()
            labels, boxes = range(len(counts)), [None] * len(counts)
        else:
            scores = sample.pred_score
            labels, boxes = range(len(scores)), [None] * len(scores)
        names = self.classes
        if self.task == 'classification' and names and len(names) != len(scores):
            names = None  # of other data than the head's
        found = [
            Found(str(names[label] if names else label), score, box)
            for label, score, box in zip(labels, scores.tolist(), boxes)
            if score > 0
        ]
        return sorted(found, key=lambda one: -one.score)

    def draw(
        self, image: np.ndarray, sample: BaseDataElement, score_thr: float = 0.3
    ) -> np.ndarray:
        """An image with what was predicted; (H, W, 3), channels in OpenCV's order."""
        if self._visualizer is None:
            self._visualizer = build_visualizer(self._cfg, self.classes)
        drawn = draw_annotated(
            self._visualizer, image[..., ::-1], sample, score_thr=score_thr
        )
        return drawn[..., ::-1]


def predict(
    cfg: Config,
    checkpoint: str,
    images: Sequence[str],
    device: str | None = None,
    out_dir: str | None = None,
    score_thr: float = 0.3,
) -> Iterator[Prediction]:
    """Predict image files, one after the other.

    Args:
        cfg (Config): Config of a classifier, detector or segmenter; see
            ``smpconv_mm.engine.config.load_config``.
        checkpoint (str): Its checkpoint, which has to fit exactly.
        images (Sequence[str]): Image files, folders of them and patterns such as
            ``'photos/*.jpg'``.
        device (str, optional): Defaults to None: a GPU if there is one.
        out_dir (str, optional): Folder for pictures of the predictions. Defaults to
            None: none are drawn.
        score_thr (float): Least score of the boxes of a detector. Defaults to 0.3.

    Yields:
        Prediction: One for each image; a bad image has an error and stops nothing.

    Raises:
        UsageError: If the config is not of images, or the device does not exist.
        CheckpointError: If the checkpoint cannot be read or does not fit, or has
            weights that are not finite.
    """
    predictor = Predictor(cfg, checkpoint, device)
    with keep_kernels(predictor.model):
        for name in images:
            try:
                paths = find_images(name)
            except UsageError as error:
                yield Prediction(name, error=str(error))
                continue
            for path in paths:
                try:
                    image = read_image(path)
                except UsageError as error:
                    yield Prediction(path, error=str(error))
                    continue
                sample = predictor(image)
                found = [
                    one
                    for one in predictor.read(sample)
                    if one.box is None or one.score >= score_thr
                ]
                if out_dir is not None:
                    picture = Path(out_dir, path.lstrip('./')).with_suffix('.png')
                    mmcv.imwrite(predictor.draw(image, sample, score_thr), str(picture))
                yield Prediction(path, found, sample)


def find_images(name: str) -> list[str]:
    """Image files that a name stands for, in order.

    Args:
        name (str): A file, a folder, whose images are taken with those of its
            subfolders, or a pattern such as ``'photos/*.jpg'``.

    Raises:
        UsageError: If there are none.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        found = sorted(
            str(file) for file in path.rglob('*') if file.suffix.lower() in SUFFIXES
        )
        if not found:
            raise UsageError(f'folder {name!r} has no images ({", ".join(SUFFIXES)})')
        return found
    if path.exists():
        return [str(path)]
    found = sorted(glob(str(path), recursive=True))
    if not found:
        what = 'pattern' if set(name) & set('*?[') else 'image'
        raise UsageError(f'{what} {name!r} does not exist')
    return [image for match in found for image in find_images(match)]


def read_image(path: str) -> np.ndarray:
    """Read an image (H, W, 3), channels in OpenCV's order.

    Raises:
        UsageError: If the file is missing or not an image.
    """
    if not Path(path).is_file():
        raise UsageError(f'image {path!r} does not exist')
    try:
        image = mmcv.imread(path)
    except Exception as error:  # OpenCV's, of an empty file
        raise UsageError(f'{path!r}: {error}') from error
    if image is None:
        raise UsageError(f'{path!r} is not an image or is damaged; mend or remove it')
    return image
