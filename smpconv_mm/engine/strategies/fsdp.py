"""Sharded training (FSDP) by MMEngine, on GPUs and on CPUs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine._strategy.fsdp import FSDPStrategy as _FSDPStrategy
from mmengine.device import is_cuda_available
from mmengine.dist import is_main_process
from mmengine.optim import BaseOptimWrapper
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP
from torch.distributed.fsdp._common_utils import clean_tensor_name
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

from smpconv_mm.checkpoint import atomic_path, shapes_of
from smpconv_mm.registry import STRATEGIES


@STRATEGIES.register_module()
class FSDPStrategy(_FSDPStrategy):
    """Shard parameters, gradients and optimiser state over the processes.

    The checkpoints are those of unsharded training: ``tools/test.py`` and other
    programs read them. Differences from MMEngine 0.10's strategy of that name,
    which cannot resume with torch 2.1 or newer:

    * modules to be wrapped are named by their classes (``wrap``);
    * groups of parameters are made from their full shapes. The shards are flat,
      so that ``flat_decay_mult`` would take the weight decay from all of them;
    * the state of the optimiser is saved and loaded by today's interface of
      torch, checkpoints are written in one move;
    * it runs on CPUs too.

    Args:
        wrap (Sequence[str]): Names of classes whose modules are sharded one by
            one; the rest of the model is a shard of its own. A module is
            gathered when its turn comes, so they bound the memory. Defaults to
            the blocks of :class:`~smpconv_mm.models.SMPNet`.
        model_wrapper (dict, optional): Arguments of MMEngine's
            ``MMFullyShardedDataParallel``, e.g. ``sharding_strategy``. Defaults
            to None.
        **kwargs: Of MMEngine's ``FSDPStrategy``, but ``state_dict_cfg``.

    Raises:
        ValueError: If the model has no module of a class in ``wrap``, or
            gradients are to be clipped.
    """

    def __init__(
        self,
        *,
        wrap: Sequence[str] = ('SMPBlock', 'ConvFFN'),
        model_wrapper: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(model_wrapper=model_wrapper, state_dict_cfg='full', **kwargs)
        self.wrap = tuple(wrap)
        if not is_cuda_available():
            # torch would free the tensors that it "moves" from the CPU to the CPU
            self.state_dict_config.offload_to_cpu = False
            self.optim_state_dict_config.offload_to_cpu = False

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        self.full_shapes = shapes_of(model)  # for CheckpointGuardHook
        known = {type(module).__name__: type(module) for module in model.modules()}
        missing = [name for name in self.wrap if name not in known]
        if missing:
            raise ValueError(
                f'strategy.wrap names {missing}, but {type(model).__name__} has no '
                f'such module; it is made of {sorted(known)}'
            )
        self.model_wrapper = dict(
            dict(
                type='MMFullyShardedDataParallel',
                auto_wrap_policy=ModuleWrapPolicy({known[n] for n in self.wrap}),
            ),
            **(self.model_wrapper or {}),
        )
        if not is_cuda_available():
            self.model_wrapper['device_id'] = torch.device('cpu')
        return super()._wrap_model(model)

    def build_optim_wrapper(
        self, optim_wrapper: dict | BaseOptimWrapper, model: nn.Module | None = None
    ) -> BaseOptimWrapper:
        """Build the optimiser; groups go by the full shapes of the parameters."""
        with FSDP.summon_full_params(model, writeback=False):
            built = super().build_optim_wrapper(optim_wrapper, model)
        if built.clip_grad_kwargs:
            raise ValueError(
                'optim_wrapper.clip_grad cannot be used with FSDPStrategy: each '
                'process would clip by the norm of its own shard; remove it'
            )
        return built

    def optim_state_dict(self) -> dict:
        """State of the whole optimiser, on the first process."""
        return FSDP.optim_state_dict(self.model, self.optim_wrapper.optimizer)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the state of an optimiser, sharded or not."""
        optimizer = self.optim_wrapper.optimizer
        names = {
            id(parameter): clean_tensor_name(name)
            for name, parameter in self.model.named_parameters()
        }
        ours = [names[id(p)] for g in optimizer.param_groups for p in g['params']]
        theirs = [key for g in state_dict['param_groups'] for key in g['params']]
        # unsharded optimisers count their parameters
        named = dict(zip(theirs, ours))
        state_dict = dict(
            state={named[key]: value for key, value in state_dict['state'].items()},
            param_groups=[
                dict(group, params=[named[key] for key in group['params']])
                for group in state_dict['param_groups']
            ],
        )
        optimizer.load_state_dict(
            FSDP.optim_state_dict_to_load(self.model, optimizer, state_dict)
        )

    def save_checkpoint(self, filename: str, **kwargs) -> None:
        """Write a checkpoint; never leaves half a file under its name."""
        if not is_main_process():  # helps to gather the state
            super().save_checkpoint(filename, **kwargs)
            return
        with atomic_path(filename) as temporary:
            super().save_checkpoint(str(temporary), **kwargs)
