"""Refuse a checkpoint that does not fit the model."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop, Runner

from smpconv_mm.checkpoint import (
    adapted_shapes,
    check_fits,
    in_deploy_form,
    shapes_of,
    state_dict_of,
)
from smpconv_mm.errors import CheckpointError
from smpconv_mm.layers import switch_to_deploy
from smpconv_mm.registry import HOOKS


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Stop with one clear error where MMEngine would warn and go on.

    MMEngine loads what fits of a checkpoint and logs the rest, so that a test
    with the wrong file ends with a meaningless accuracy. With this hook a test
    or a resumed training needs a checkpoint that fits exactly; a training that
    starts from other weights (``load_from``) needs at least one entry that
    fits. A test with a checkpoint in deploy form brings the model into that form.
    Where samples are permuted, the checkpoint must have seen the same
    permutation.

    Raises:
        CheckpointError: See :func:`smpconv_mm.checkpoint.check_fits`.
    """

    priority = 'VERY_HIGH'

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
            _check_permutation(runner, checkpoint, path)
        elif not set(state_dict) & set(full_shapes or shapes_of(model)):
            raise CheckpointError(
                f'checkpoint {path} has no entry in common with the model; its first '
                f'names are {list(state_dict)[:3]}'
            )


def _check_permutation(runner: Runner, checkpoint: dict, path) -> None:
    """Compare ``metainfo['permutation']`` of checkpoint and datasets."""
    trained = checkpoint.get('meta', {}).get('dataset_meta')
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


def _named(permutation) -> str:
    if permutation is None:
        return 'samples in their order'
    return f'samples permuted to {", ".join(map(str, permutation[:4]))}, ...'
