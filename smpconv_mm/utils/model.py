"""The model of a config, of any scope."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from .checkpoint import load_into


def build_model(cfg: Config, checkpoint: str | None = None) -> nn.Module:
    """Build a classifier, detector or segmenter, with the weights of a checkpoint.

    Without a checkpoint the weights are what the constructors made them;
    :func:`initialise` gives those that a training starts from.

    Raises:
        CheckpointError: If the checkpoint cannot be read or does not fit.
    """
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    model = MODELS.build(cfg.model)
    if checkpoint:
        load_into(model, checkpoint)
    return model


def initialise(network: BaseModule) -> None:
    """Initialise weights as a training does, without a log line a parameter.

    Raises:
        CheckpointError: If ``init_cfg`` names a checkpoint that cannot be read.
    """
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        network.init_weights()
    finally:
        logger.setLevel(level)
