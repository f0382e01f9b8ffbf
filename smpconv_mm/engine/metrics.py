"""Metrics that mmpretrain lacks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric

from smpconv_mm.registry import METRICS


@METRICS.register_module()
class MeanSquaredError(BaseMetric):
    """Mean squared error of ``pred_score`` against ``gt_score``.

    Args:
        collect_device (str): Defaults to ``'cpu'``.
        prefix (str, optional): Before the name ``mse``. Defaults to None.
    """

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keep the squared errors of a batch."""
        for sample in data_samples:
            error = sample['pred_score'].cpu() - sample['gt_score'].cpu()
            self.results.append(error.double().square().mean())

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The mean over samples."""
        return dict(mse=float(torch.stack(results).mean()))
