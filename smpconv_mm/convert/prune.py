"""Checkpoints with fewer points."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from smpconv_mm.checkpoint import load_into, save
from smpconv_mm.engine.config import check_data
from smpconv_mm.engine.runner import build_model, build_runner
from smpconv_mm.errors import CheckpointError
from smpconv_mm.layers import PrunedLayer, prune_points

_ROUNDING = 1e-5  # relative change of a float32 kernel summed in another order


@dataclass
class Cost:
    """What a checkpoint costs and gives.

    Attributes:
        parameters (int): Of the model.
        size (int): Bytes of the file with weights and meta data only.
        metrics (dict[str, float]): On the validation data of the config; empty
            where it was not validated.
    """

    parameters: int
    size: int
    metrics: dict[str, float]


def prune_file(
    cfg: Config,
    src: str | Path,
    dst: str | Path,
    threshold: float = 0.0,
    validate: bool = True,
) -> tuple[list[PrunedLayer], Cost, Cost]:
    """Write a checkpoint without the points that do little.

    The result fits the same config: SMP kernels take their number of points
    from the checkpoint. Training state is left out.

    Args:
        cfg (Config): Config of the training form.
        src (str | Path): Its checkpoint.
        dst (str | Path): File to write.
        threshold (float): See :func:`smpconv_mm.layers.prune_points`. Defaults
            to 0, which changes no output.
        validate (bool): Measure on the validation data before and after.
            Defaults to True.

    Returns:
        tuple: What became of each kernel, and the cost before and after.

    Raises:
        CheckpointError: If the checkpoint does not fit, or a pruning that
            should be exact is not.
        ValueError: See :func:`smpconv_mm.layers.prune_points`.
    """
    if validate:
        check_data(cfg, ('val',))
    model = build_model(cfg).eval()
    meta = dict(load_into(model, src).get('meta', {}))

    def cost(path: Path) -> Cost:
        save(dict(state_dict=model.state_dict(), meta=meta), path)
        parameters = sum(p.numel() for p in model.parameters())
        metrics = _validate(cfg, path) if validate else {}
        return Cost(parameters, path.stat().st_size, metrics)

    with tempfile.TemporaryDirectory() as folder:
        # the name is part of the size
        before = cost(Path(folder, Path(dst).name))
    report = prune_points(model, threshold)
    change = max(layer.change for layer in report)
    if threshold == 0 and not change <= _ROUNDING:
        raise CheckpointError(
            f'exact pruning of {src} changed a kernel by {change:.1e}; nothing was '
            'written'
        )
    meta['pruned'] = dict(threshold=threshold)
    return report, before, cost(Path(dst))


def _validate(cfg: Config, checkpoint: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as work_dir:
        cfg = deepcopy(cfg)
        cfg.work_dir, cfg.load_from = work_dir, str(checkpoint)
        cfg.log_level = 'WARNING'
        # one per run: MMEngine keeps loggers and visualizers by name
        cfg.experiment_name = Path(work_dir).name
        # as a test: MMEngine's Runner.val() stumbles over save_best
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
        cfg.test_cfg = {}
        return build_runner(cfg).test()
