"""What a network takes for what, counted over its test data."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from torch import Tensor
from torchvision.ops import box_iou

from smpconv_mm.engine.config import check_data
from smpconv_mm.engine.runner import build_runner, classes_of
from smpconv_mm.errors import UsageError

from .inference import task_of

BACKGROUND = 'nothing'
LEAST_SCORE, LEAST_OVERLAP = 0.3, 0.5


def confusion_matrix(cfg: Config, checkpoint: str) -> tuple[Tensor, list[str] | None]:
    """Test a network and count what it takes for what.

    Counts are images of a classifier, pixels of a segmenter and objects of a
    detector: a box of a score of 0.3 or more, best first, takes the object that it
    overlaps most, by an IoU of 0.5 or more, and that no other took. A detector has
    one more class, :data:`BACKGROUND`: what was overlooked, and what is not there.

    Args:
        cfg (Config): Config of a classifier with one label an image, a detector or
            a segmenter, with its test data.
        checkpoint (str): Its checkpoint.

    Returns:
        tuple[Tensor, list[str] | None]: Counts (classes, classes), int64, rows true
        and columns predicted, and the names of the classes.

    Raises:
        UsageError: If the data are not there, or images have several labels.
        CheckpointError: If the checkpoint cannot be read or does not fit.
    """
    check_data(cfg, ('test',))
    task = task_of(cfg)
    with tempfile.TemporaryDirectory() as work_dir:
        cfg.work_dir, cfg.load_from = work_dir, checkpoint
        runner = build_runner(cfg)
        names = classes_of(cfg, checkpoint)
        dataset = runner.test_loop.dataloader.dataset
        counter = _Counter(task, dataset, len(dataset.metainfo.get('classes') or ()))
        runner.test_evaluator.metrics = [counter]
        runner.test()
    matrix = counter.counts
    names = list(dataset.metainfo.get('classes') or names or ()) or None
    if task == 'detection' and names:
        names.append(BACKGROUND)
    return matrix, names


class _Counter(BaseMetric):
    """A metric that keeps counts only, not what it counted."""

    def __init__(self, task: str, dataset: BaseDataset, classes: int) -> None:
        super().__init__()
        self.task, self.dataset = task, dataset
        self.seen = 0
        self.counts = torch.zeros(0, 0, dtype=torch.int64)
        if classes:
            self._grow(classes + (task == 'detection'))

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count a batch."""
        for sample in data_samples:
            true, predicted = getattr(self, f'_{self.task}')(sample)
            true, predicted = true.cpu().long(), predicted.cpu().long()
            if len(true):
                self._grow(int(max(true.max(), predicted.max())) + 1)
                places = true * len(self.counts) + predicted
                self.counts += places.bincount(minlength=self.counts.numel()).view(
                    self.counts.shape
                )
            self.seen += 1
            self.results.append(None)  # MMEngine warns of metrics without any

    def compute_metrics(self, results: list) -> dict:
        """Nothing; the counts are complete."""
        return {}

    def _grow(self, classes: int) -> None:
        if classes > len(self.counts):
            larger = torch.zeros(classes, classes, dtype=torch.int64)
            larger[: len(self.counts), : len(self.counts)] = self.counts
            self.counts = larger

    def _classification(self, sample: dict) -> tuple[Tensor, Tensor]:
        true, predicted = sample['gt_label'], sample['pred_label']
        if len(true) != 1 or len(predicted) != 1:
            raise UsageError(
                f'an image has {len(true)} labels; a confusion matrix is for data with '
                'one label an image'
            )
        return true, predicted

    def _segmentation(self, sample: dict) -> tuple[Tensor, Tensor]:
        true = sample['gt_sem_seg']['data'].flatten()
        predicted = sample['pred_sem_seg']['data'].flatten()
        known = true < len(self.counts)  # the others are ignored in training, too
        return true[known], predicted[known]

    def _detection(self, sample: dict) -> tuple[Tensor, Tensor]:
        objects = self.dataset.get_data_info(self.seen)['instances']
        boxes = torch.tensor([o['bbox'] for o in objects]).view(-1, 4)
        labels = torch.tensor([o['bbox_label'] for o in objects], dtype=torch.long)
        ignored = torch.tensor([bool(o.get('ignore_flag')) for o in objects])
        found = sample['pred_instances']
        kept = found['scores'] >= LEAST_SCORE
        order = found['scores'][kept].argsort(descending=True)
        overlaps = box_iou(found['bboxes'][kept][order].cpu().float(), boxes.float())
        return match(
            overlaps,
            labels,
            found['labels'][kept][order].cpu(),
            ignored.bool(),
            len(self.counts) - 1,
        )


def match(
    overlaps: Tensor, true: Tensor, predicted: Tensor, ignored: Tensor, background: int
) -> tuple[Tensor, Tensor]:
    """Pair boxes with objects.

    Args:
        overlaps (Tensor): IoU (boxes, objects), boxes of the highest score first.
        true (Tensor): Labels of the objects.
        predicted (Tensor): Labels of the boxes.
        ignored (Tensor): bool, objects that need not be found (crowds); boxes on
            them do not count.
        background (int): Label of what is not there.

    Returns:
        tuple[Tensor, Tensor]: True and predicted labels, as many pairs as there are
        objects to be found and boxes without one of them.
    """
    free = torch.ones(len(true), dtype=torch.bool)
    pairs = []
    for row, label in zip(overlaps, predicted.tolist()):
        row = torch.where(free & (row >= LEAST_OVERLAP), row, -1)
        best = int(row.argmax()) if len(row) else -1
        if best < 0 or row[best] < 0:
            pairs.append((background, label))
        elif not ignored[best]:
            free[best] = False
            pairs.append((int(true[best]), label))
    left = true[free & ~ignored].tolist()
    pairs += [(label, background) for label in left]
    return tuple(torch.tensor(pairs, dtype=torch.long).view(-1, 2).T)
