"""Log and draw how the learned sizes of kernels change while training."""

from __future__ import annotations

from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from smpconv_mm.checkpoint import load, save
from smpconv_mm.layers import FlexKernel
from smpconv_mm.registry import HOOKS


@HOOKS.register_module()
class KernelSizeHook(Hook):
    """Follow the taps that every :class:`~smpconv_mm.layers.FlexKernel` keeps.

    At the start and every ``interval`` epochs, and after the last one, it hands
    ``kernel_size/LAYER/AXIS`` to the visualizer, logs the range over layers, and
    writes all sizes so far to ``kernel_sizes/sizes.pth`` in the work dir and their
    picture (:func:`smpconv_mm.visualization.draw_size_growth`) to
    ``kernel_sizes/sizes.png``. A run that is resumed goes on with what it had written.

    Args:
        interval (int): Epochs between two records. Defaults to 1.

    Raises:
        ValueError: If ``interval`` is not positive, or, at the start of training, the
            model has no such kernel.
    """

    def __init__(self, interval: int = 1) -> None:
        if interval < 1:
            raise ValueError(f'interval must be at least 1, got {interval}')
        self.interval = interval
        self._epochs: list[int] = []
        self._sizes: dict[str, list[tuple[int, ...]]] = {}

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Note the sizes at the start, or read what a resumed run had noted."""
        path = self._folder(runner) / 'sizes.pth'
        if runner.epoch > 0 and path.is_file():
            written = load(path)
            known = sum(epoch <= runner.epoch for epoch in written['epochs'])
            self._epochs = written['epochs'][:known]
            self._sizes = {k: v[:known] for k, v in written['sizes'].items()}
        if not self._epochs:
            self._record(runner, runner.epoch)

    @master_only
    def after_train_epoch(self, runner: Runner) -> None:
        """Note the sizes."""
        last = runner.epoch + 1 == runner.max_epochs
        if last or self.every_n_epochs(runner, self.interval):
            self._record(runner, runner.epoch + 1)

    @staticmethod
    def _folder(runner: Runner) -> Path:
        return Path(runner.work_dir) / 'kernel_sizes'

    def _record(self, runner: Runner, epoch: int) -> None:
        # a training without this hook does without matplotlib
        from smpconv_mm.visualization import draw_size_growth, save_figure, short_name

        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        kernels = {n: m for n, m in model.named_modules() if isinstance(m, FlexKernel)}
        if not kernels:
            raise ValueError(
                f'KernelSizeHook: {type(model).__name__} has no FlexKernel to follow; '
                'leave the hook out'
            )
        self._epochs.append(epoch)
        scalars, full = {}, {}
        for name, kernel in kernels.items():
            size = tuple(end - first for first, end in kernel.kept_taps())
            self._sizes.setdefault(name, []).append(size)
            full[name] = kernel.kernel_size
            for axis, taps in enumerate(size):
                scalars[f'kernel_size/{short_name(name)}/{axis}'] = taps
        runner.logger.info(
            f'kernels at epoch {epoch} have {min(scalars.values())} to '
            f'{max(scalars.values())} taps along an axis'
        )
        runner.visualizer.add_scalars(scalars, step=epoch)
        folder = self._folder(runner)
        save(dict(epochs=self._epochs, sizes=self._sizes), folder / 'sizes.pth')
        figure = draw_size_growth(self._epochs, self._sizes, full)
        save_figure(figure, folder / 'sizes.png')
