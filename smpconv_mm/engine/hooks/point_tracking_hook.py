"""Log and draw how points move while training."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from smpconv_mm.checkpoint import load, save
from smpconv_mm.layers import SMPKernel, points_outside
from smpconv_mm.registry import HOOKS


@HOOKS.register_module()
class PointTrackingHook(Hook):
    """Follow the points of every :class:`SMPKernel`.

    Every ``interval`` epochs or iterations, and at the start and the end of
    training, it

    * hands three scalars a layer to the visualizer (scalars.json,
      TensorBoard, ...): ``points/LAYER/moved``, the mean distance of points
      from where they started, ``points/LAYER/outside``, the share of points
      whose hat touches no place of the kernel, and ``points/LAYER/radius``, the
      mean radius; distances are in units of half a kernel side;
    * logs their means over layers;
    * writes all positions and radii so far to ``points/points.pth`` in the work
      dir and their picture (:func:`smpconv_mm.visualization.draw_trajectories`)
      to ``points/points.png``.

    A run that is resumed goes on with what it had written.

    Args:
        interval (int): Epochs or iterations between two records. Defaults to 1.
        by_epoch (bool): Count epochs, else iterations. Defaults to True.
        max_layers (int): Layers in the picture at most. Defaults to 8.

    Raises:
        ValueError: If ``interval`` is not positive, or, at the start of
            training, the model has no SMP kernel.
    """

    def __init__(
        self, interval: int = 1, by_epoch: bool = True, max_layers: int = 8
    ) -> None:
        if interval < 1:
            raise ValueError(f'interval must be at least 1, got {interval}')
        self.interval = interval
        self.by_epoch = by_epoch
        self.max_layers = max_layers
        self.unit = 'epoch' if by_epoch else 'iteration'
        self._steps: list[int] = []
        self._history: dict[str, dict[str, torch.Tensor]] = {}

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Note where the points start, or read what a resumed run had noted."""
        step = runner.epoch if self.by_epoch else runner.iter
        kernels = _kernels(runner)
        path = self._folder(runner) / 'points.pth'
        if step > 0 and path.is_file():
            self._read(path, step, kernels)
        if not self._steps:
            self._record(runner, step)

    def after_train_epoch(self, runner: Runner) -> None:
        """Record, if epochs are counted."""
        last = runner.epoch + 1 == runner.max_epochs
        if self.by_epoch and (last or self.every_n_epochs(runner, self.interval)):
            self._record(runner, runner.epoch + 1)

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Record, if iterations are counted."""
        last = runner.iter + 1 == runner.max_iters
        if not self.by_epoch and (
            last or self.every_n_train_iters(runner, self.interval)
        ):
            self._record(runner, runner.iter + 1)

    def _folder(self, runner: Runner) -> Path:
        return Path(runner.work_dir) / 'points'

    def _read(self, path: Path, step: int, kernels: dict[str, SMPKernel]) -> None:
        written = load(path)
        known = [i for i, at in enumerate(written['steps']) if at <= step]
        fits = written['unit'] == self.unit and {
            name: kernel.coord.shape for name, kernel in kernels.items()
        } == {name: v['coord'].shape[1:] for name, v in written['history'].items()}
        if fits and known:
            self._steps = [written['steps'][i] for i in known]
            self._history = {
                name: {key: value[known] for key, value in values.items()}
                for name, values in written['history'].items()
            }

    @master_only
    @torch.no_grad()
    def _record(self, runner: Runner, step: int) -> None:
        # a training without this hook does without matplotlib
        from smpconv_mm.visualization import draw_trajectories, save_figure, short_name

        kernels = _kernels(runner)
        self._steps.append(step)
        scalars, means = {}, torch.zeros(3)
        for name, kernel in kernels.items():
            past = self._history.setdefault(name, {})
            for key in ('coord', 'radius'):
                now = getattr(kernel, key).detach().float().cpu()[None].clone()
                past[key] = torch.cat([past[key], now]) if key in past else now
            values = torch.tensor(
                [
                    float((past['coord'][-1] - past['coord'][0]).norm(dim=-1).mean()),
                    float(points_outside(kernel).float().mean()),
                    float(past['radius'][-1].mean()),
                ]
            )
            means += values / len(kernels)
            for key, value in zip(('moved', 'outside', 'radius'), values.tolist()):
                scalars[f'points/{short_name(name)}/{key}'] = value
        moved, outside, radius = means.tolist()
        runner.logger.info(
            f'points at {self.unit} {step}: moved {moved:.3f}, outside {outside:.1%}, '
            f'radius {radius:.3f} (means of {len(kernels)} layers)'
        )
        runner.visualizer.add_scalars(scalars, step=step)
        folder = self._folder(runner)
        save(
            dict(unit=self.unit, steps=self._steps, history=self._history),
            folder / 'points.pth',
        )
        figure = draw_trajectories(
            _model(runner), self._steps, self._history, self.unit, self.max_layers
        )
        save_figure(figure, folder / 'points.png')


def _model(runner: Runner) -> nn.Module:
    model = runner.model
    return model.module if is_model_wrapper(model) else model


def _kernels(runner: Runner) -> dict[str, SMPKernel]:
    model = _model(runner)
    kernels = {n: m for n, m in model.named_modules() if isinstance(m, SMPKernel)}
    if not kernels:
        raise ValueError(
            f'PointTrackingHook: {type(model).__name__} has no SMP kernels to follow; '
            'leave the hook out'
        )
    return kernels
