"""Refuse label maps with labels that the model does not have."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from smpconv_mm.registry import HOOKS


@HOOKS.register_module()
class LabelGuardHook(Hook):
    """Name the file where the loss of a segmenter would fail without a name.

    A label outside of the head's classes ends on a GPU in a device-side assert,
    long after the batch and without its value.

    Raises:
        ValueError: If a label map of a training batch holds a label that is
            neither one of the head's classes nor ignored.
    """

    priority = 'HIGH'

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Check the label maps of the batch."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        head = model.decode_head
        if isinstance(head, nn.ModuleList):  # of a cascade, trained on the same labels
            head = min(head, key=lambda one: one.num_classes)
        for sample in data_batch['data_samples']:
            labels = sample.gt_sem_seg.data
            wrong = labels[(labels < 0) | (labels >= head.num_classes)]
            wrong = wrong[wrong != head.ignore_index]
            if len(wrong):
                raise ValueError(
                    f'{sample.seg_map_path} holds the label {int(wrong[0])}, after '
                    'what its pipeline does to labels, but the model has the classes '
                    f'0..{head.num_classes - 1} and ignores {head.ignore_index}; '
                    'correct the file, num_classes of the head or reduce_zero_label '
                    'of the dataset'
                )
