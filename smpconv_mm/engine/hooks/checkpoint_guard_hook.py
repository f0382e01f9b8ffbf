"""Refuse a checkpoint that does not fit the model."""

from __future__ import annotations

from itertools import zip_longest

from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch.optim import Optimizer

from smpconv_mm.checkpoint import (
    adapted_shapes,
    check_fits,
    check_part,
    check_resumable,
    in_deploy_form,
    state_dict_of,
)
from smpconv_mm.errors import CheckpointError
from smpconv_mm.layers import switch_to_deploy
from smpconv_mm.registry import HOOKS


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Stop with one clear error where MMEngine would warn and go on.

    MMEngine loads what fits of a checkpoint and logs the rest, so that a test
    with the wrong file ends with a meaningless accuracy. With this hook

    * a test or a resumed training needs a checkpoint that fits exactly, and a
      resumed one the state of the optimiser too;
    * a training that starts from other weights (``load_from``) needs a backbone
      that fits; heads may be others;
    * weights must be finite, and the data those that the checkpoint was trained on:
      the same permutation of samples, and classes in the same order.

    A test with a checkpoint in deploy form brings the model into that form.

    Args:
        ignore_mismatched_sizes (bool): Start a training from what fits of any
            checkpoint, the backbone's entries included. Defaults to False.

    Raises:
        CheckpointError: See :func:`smpconv_mm.checkpoint.check_fits`,
            ``check_part`` and ``check_resumable``.
    """

    priority = 'VERY_HIGH'

    def __init__(self, ignore_mismatched_sizes: bool = False) -> None:
        self.ignore_mismatched_sizes = ignore_mismatched_sizes

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the checkpoint with the runner's model."""
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        state_dict = state_dict_of(checkpoint)
        path = runner._load_from or runner.work_dir
        training = isinstance(runner._train_loop, BaseLoop)
        if in_deploy_form(checkpoint):
            if training:
                raise CheckpointError(
                    f'checkpoint {path} is in deploy form, which can be tested but not '
                    'trained; take the one that it was made from'
                )
            switch_to_deploy(model)
        # of a sharded model, which holds flat pieces
        full_shapes = getattr(getattr(runner, 'strategy', None), 'full_shapes', None)
        adapted = {} if full_shapes else adapted_shapes(model, state_dict)
        if adapted and training and is_model_wrapper(runner.model):
            raise CheckpointError(
                f'checkpoint {path} changes the shape of {len(adapted)} entries '
                f'({", ".join(list(adapted)[:3])}), and a model that is already '
                'distributed cannot follow; train it on one process'
            )
        if adapted:
            runner.logger.info(
                f'{len(adapted)} entries of the model take their shape (number of '
                f'points) from {path}'
            )
        fine_tuning = training and not runner._resume
        if not fine_tuning:
            check_fits(model, state_dict, path, full_shapes)
            _check_data(runner, checkpoint, path)
        else:
            same = None if self.ignore_mismatched_sizes else 'backbone.'
            option = 'default_hooks.checkpoint_guard'
            check_part(model, state_dict, path, option, same, full_shapes)
        if training and runner._resume:
            check_resumable(checkpoint, path)
            _check_average(runner, checkpoint, path)
            _check_optimizer(runner, checkpoint, path)


def _check_optimizer(runner: Runner, checkpoint: dict, path) -> None:
    """Compare the groups of parameters and the schedulers with those of the config."""
    optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
    groups = checkpoint['optimizer'].get('param_groups')
    if isinstance(optimizer, Optimizer) and isinstance(groups, list):
        theirs, ours = (
            [len(group['params']) for group in found]
            for found in (groups, optimizer.param_groups)
        )
        what = f'an optimiser with groups of {_some(theirs)} parameters'
        _compare(what, f'groups of {_some(ours)}', theirs == ours, path)
        theirs, ours = (set(found[0]) for found in (groups, optimizer.param_groups))
        only = sorted(theirs - ours), sorted(ours - theirs)
        # a version of torch may add some, but not take away others too
        what = f'an optimiser with the settings {", ".join(only[0])}'
        _compare(what, f'one with {", ".join(only[1])}', not all(only), path)
        pairs = zip(groups, optimizer.param_groups)  # of which there may be hundreds
        any(_tell(runner, 'the optimiser', saved, group) for saved, group in pairs)
    schedulers, saved = runner.param_schedulers, checkpoint.get('param_schedulers')
    if isinstance(schedulers, list) and isinstance(saved, list):
        theirs, ours = len(saved), len(schedulers)
        _compare(f'{theirs} schedulers', str(ours), theirs == ours, path)
        for i, (state, scheduler) in enumerate(zip(saved, schedulers)):
            _tell(runner, f'param_scheduler.{i}', state, vars(scheduler))


def _tell(runner: Runner, what: str, saved: dict, config: dict) -> bool:
    """Say which settings of a config a resumed training does not take, if any."""
    progress = ('last_step', 'lr', 'verbose')
    others = [
        f'{key}={saved[key]} instead of {value}'
        for key, value in config.items()
        if isinstance(value, (int, float))
        and key[0] != '_'
        and key not in progress
        and saved.get(key, value) != value
    ]
    if others:
        runner.logger.warning(
            f'{what} keeps the settings of the checkpoint, not of the config: '
            f'{", ".join(others)}. Only a new training (load_from) would take them'
        )
    return bool(others)


def _compare(theirs: str, ours: str, same: bool, path) -> None:
    if not same:
        raise CheckpointError(
            f'checkpoint {path} is of {theirs}, the config has {ours}; resume with the '
            'config that it was trained with, or start a new training from its '
            f'weights: --cfg-options load_from={path}, without --resume'
        )


def _some(counts: list[int]) -> str:
    return ', '.join(map(str, counts[:4])) + ', ...' * (len(counts) > 4)


def _check_average(runner: Runner, checkpoint: dict, path) -> None:
    """The state dict of a run with averaged weights holds the average."""
    averages = any(isinstance(hook, EMAHook) for hook in runner.hooks)
    if 'ema_state_dict' in checkpoint and not averages:
        raise CheckpointError(
            f'checkpoint {path} is of a training that averages its weights, and the '
            'config has no EMAHook: it would go on from the average with the '
            "optimiser's state of other weights. Resume with the EMAHook in "
            'custom_hooks, or start a new training from the average by load_from'
        )


def _check_data(runner: Runner, checkpoint: dict, path) -> None:
    """Compare ``permutation`` and ``classes`` of the data of checkpoint and loops."""
    trained = (checkpoint.get('meta') or {}).get('dataset_meta')
    if trained is None:  # weights of unknown origin
        return
    for phase in ('train', 'val', 'test'):
        loop = getattr(runner, f'_{phase}_loop', None)
        if not isinstance(loop, BaseLoop):
            continue
        metainfo = getattr(loop.dataloader.dataset, 'metainfo', {})
        ours, theirs = (m.get('permutation') for m in (metainfo, trained))
        if (ours and tuple(ours)) != (theirs and tuple(theirs)):
            raise CheckpointError(
                f'checkpoint {path} was trained on {_named(theirs)}, the {phase} '
                f'dataset has {_named(ours)}; set permutation_seed of the dataset '
                'as it was in training'
            )
        ours, theirs = (m.get('classes') for m in (metainfo, trained))
        if not ours or not theirs or list(ours) == list(theirs):
            continue
        pairs = enumerate(zip_longest(ours, theirs))
        i, (here, there) = next(pair for pair in pairs if len({*pair[1]}) > 1)
        differ = (
            f'checkpoint {path} was trained with other classes than those of the '
            f'{phase} dataset: class {i} is {there!r} there and {here!r} here'
        )
        if sorted(ours) == sorted(theirs):
            raise CheckpointError(f'{differ}; bring metainfo.classes into that order')
        runner.logger.warning(differ)


def _named(permutation) -> str:
    if permutation is None:
        return 'samples in their order'
    return f'samples permuted to {", ".join(map(str, permutation[:4]))}, ...'
