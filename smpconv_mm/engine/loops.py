"""Loops that MMEngine lacks."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import is_model_wrapper
from mmengine.runner import TestLoop
from torch import Tensor

from smpconv_mm.layers import resample
from smpconv_mm.registry import LOOPS


@LOOPS.register_module()
class ResolutionTestLoop(TestLoop):
    r"""Test a model of images at several resolutions, one after another.

    Images of the data set are resized, by bilinear interpolation with antialiasing,
    and the kernels of the model resampled for them::

        python tools/test.py CONFIG CHECKPOINT --cfg-options \
            test_cfg.type=smpconv_mm.ResolutionTestLoop \
            test_cfg.sizes=[16,24,32] test_cfg.trained_size=16

    Metrics are those of the evaluator, with the size before their names:
    ``16/accuracy/top1``.

    Args:
        sizes (Sequence[int]): Sides of the images.
        trained_size (int): Side of the images of the training, at which kernels are
            as they were trained.
        **kwargs: Of MMEngine's ``TestLoop``.

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(self, *args, sizes: Sequence[int], trained_size: int, **kwargs):
        super().__init__(*args, **kwargs)
        if not sizes or min(*sizes, trained_size) < 1:
            raise ValueError(
                f'sizes and trained_size must be positive, got {list(sizes)} and '
                f'{trained_size}'
            )
        self.sizes = list(sizes)
        self.trained_size = trained_size

    def run(self) -> dict:
        """Test at all sizes; returns all metrics."""
        model = self.runner.model
        model = model.module if is_model_wrapper(model) else model
        metrics = {}
        for size in self.sizes:
            self._size = size
            resample(model, size / self.trained_size)
            found = super().run()
            metrics.update({f'{size}/{k}': v for k, v in found.items()})
        resample(model, 1)
        self.runner.logger.info(
            'by size of images: '
            + ', '.join(f'{name} {value:.4g}' for name, value in metrics.items())
        )
        return metrics

    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Test a batch, resized."""
        inputs = data_batch['inputs']
        if isinstance(inputs, Tensor):
            data_batch['inputs'] = self._resized(inputs)
        else:
            data_batch['inputs'] = [self._resized(x[None])[0] for x in inputs]
        super().run_iter(idx, data_batch)

    def _resized(self, images: Tensor) -> Tensor:
        return F.interpolate(
            images.float(), (self._size,) * 2, mode='bilinear', antialias=True
        )
