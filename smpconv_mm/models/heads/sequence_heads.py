"""Heads of sequence tasks: a class at every step, a number, one of two classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from smpconv_mm.registry import MODELS


@MODELS.register_module()
class StepwiseClsHead(LinearClsHead):
    """Classify every step of a sequence, as copy memory asks for.

    Arguments as for mmpretrain's ``LinearClsHead``. Data samples have as many labels
    as steps, in ``gt_label``; predictions have them in ``pred_label``. mmpretrain's
    ``Accuracy`` counts steps.

    Input: a tuple of sequences (N, in_channels, L), of which the last is used. Output:
    scores (N, L, num_classes).
    """

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Scores of each step."""
        return self.fc(feats[-1].transpose(1, 2))

    def _get_loss(self, cls_score: Tensor, data_samples: list, **kwargs) -> dict:
        labels = torch.stack([sample.gt_label for sample in data_samples])
        loss = self.loss_module(cls_score.flatten(0, 1), labels.flatten(), **kwargs)
        return dict(loss=loss)

    def _get_predictions(self, cls_score: Tensor, data_samples: list | None) -> list:
        samples = data_samples or [DataSample() for _ in cls_score]
        for sample, labels in zip(samples, cls_score.argmax(-1).detach()):
            sample.set_pred_label(labels)
        return samples


@MODELS.register_module()
class RegressionHead(LinearClsHead):
    """A linear layer to numbers, trained by the mean squared error.

    Data samples have ``gt_score`` of as many numbers, and predictions ``pred_score``.

    Args:
        num_outputs (int): Numbers a sample. Defaults to 1.
        in_channels (int): Channels of the features (N, in_channels).
        **kwargs: Of mmpretrain's ``LinearClsHead``.
    """

    def __init__(self, num_outputs: int = 1, *, in_channels: int, **kwargs) -> None:
        super().__init__(num_outputs, in_channels, **kwargs)

    def _get_loss(self, cls_score: Tensor, data_samples: list, **kwargs) -> dict:
        target = torch.stack([sample.gt_score for sample in data_samples])
        return dict(loss=F.mse_loss(cls_score, target.to(cls_score)))

    def _get_predictions(self, cls_score: Tensor, data_samples: list | None) -> list:
        samples = data_samples or [DataSample() for _ in cls_score]
        for sample, value in zip(samples, cls_score.detach()):
            sample.set_pred_score(value)
        return samples


@MODELS.register_module()
class BinaryClsHead(LinearClsHead):
    """Two classes by one score, trained by the binary cross entropy.

    The sigmoid of the score is the probability of class 1. Predictions have
    ``pred_score`` of both classes and ``pred_label``.

    Args:
        in_channels (int): Channels of the features (N, in_channels).
        **kwargs: Of mmpretrain's ``LinearClsHead``.
    """

    def __init__(self, in_channels: int, **kwargs) -> None:
        super().__init__(2, in_channels, **kwargs)
        self.fc = nn.Linear(in_channels, 1)

    def _get_loss(self, cls_score: Tensor, data_samples: list, **kwargs) -> dict:
        target = torch.cat([sample.gt_label for sample in data_samples])
        score = cls_score[:, 0]
        loss = F.binary_cross_entropy_with_logits(score, target.to(score))
        return dict(loss=loss)

    def _get_predictions(self, cls_score: Tensor, data_samples: list | None) -> list:
        samples = data_samples or [DataSample() for _ in cls_score]
        scores = torch.cat([-cls_score, cls_score], dim=1).sigmoid().detach()
        for sample, score, label in zip(samples, scores, scores.argmax(1)):
            sample.set_pred_score(score).set_pred_label(label)
        return samples
