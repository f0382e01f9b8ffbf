"""MMEngine's runner for strategies, with what it gets wrong put right."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from mmengine.runner import FlexibleRunner as _FlexibleRunner


class FlexibleRunner(_FlexibleRunner):
    """Runner of a config with a ``strategy``.

    MMEngine 0.10's forgets ``compile`` of the config, and counts an epoch too
    many in a checkpoint that is written again because it was the best so far,
    from which a resumed run then skips an epoch.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> FlexibleRunner:
        """Build from a config."""
        runner = super().from_cfg(cfg)
        runner._compile = cfg.get('compile', False)
        return runner

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        """Save a checkpoint; the strategy writes it.

        Args:
            out_dir (str): Folder.
            filename (str): Name in the folder.
            file_client_args (dict, optional): Not used.
            save_optimizer (bool): Defaults to True.
            save_param_scheduler (bool): Defaults to True.
            meta (dict, optional): Epoch and iteration that have ended, if they
                are not the current ones. Defaults to None.
            by_epoch (bool): Whether an epoch has ended, else an iteration.
                Defaults to True.
            backend_args (dict, optional): Not used; strategies write files.
        """
        self.strategy.save_checkpoint(
            filename=str(Path(out_dir, filename)),
            save_optimizer=save_optimizer,
            save_param_scheduler=save_param_scheduler,
            extra_ckpt=dict(
                meta=dict(
                    epoch=self.epoch + by_epoch,
                    iter=self.iter + (not by_epoch),
                    cfg=self.cfg.pretty_text,
                    experiment_name=self.experiment_name,
                    dataset_meta=getattr(
                        self.train_dataloader.dataset, 'metainfo', None
                    ),
                )
                | (meta or {}),
                message_hub=self.message_hub.state_dict(),
            ),
            callback=lambda checkpoint: self.call_hook(
                'before_save_checkpoint', checkpoint=checkpoint
            ),
        )
