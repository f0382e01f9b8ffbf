"""Do the data of a loop fit the classifier, and the other loops?"""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn

from smpconv_mm.errors import UsageError


def check_loop(runner: Runner, loop: BaseLoop, phase: str) -> None:
    """Raise if the data of a loop are none, or do not fit a classifier's classes.

    Only what is known before a sample is loaded. Detectors and segmenters are
    checked by hooks of their own.

    Args:
        runner (Runner): Its model, and its training loop if that is built.
        loop (BaseLoop): The loop to check.
        phase (str): ``'train'``, ``'val'`` or ``'test'``.

    Raises:
        UsageError: If there is no whole batch; if the number of classes of the
            data is not that of the head or of the preprocessor; if training and
            validation data have other classes; if a metric asks for more
            classes than there are.
    """
    loader = loop.dataloader
    where = f'{phase}_dataloader'
    if len(loader) == 0:
        raise UsageError(
            f'{where}: {len(loader.dataset)} samples give no batch of '
            f'{loader.batch_size}'
            + ' (drop_last=True leaves incomplete ones out)' * loader.drop_last
            + f'; add data, or make {where}.batch_size smaller'
        )
    model = _without_wrappers(runner.model)
    number = getattr(getattr(model, 'head', None), 'num_classes', None)
    if not isinstance(number, int):
        return
    classes = _classes(loop)
    if classes is not None:
        _check_number(model, number, classes, where)
        trained = _classes(runner._train_loop)
        if phase == 'val' and trained is not None and trained != classes:
            odd = sorted({*map(str, trained)} ^ {*map(str, classes)})
            raise UsageError(
                'train_dataloader and val_dataloader have other classes, so that '
                f'labels mean other things: {_some(trained)} against {_some(classes)}'
                + f'; see {_some(odd)}'
                * bool(odd)
            )
    if phase != 'train':
        for metric in loop.evaluator.metrics:
            _check_topk(getattr(metric, 'topk', None), number, f'{phase}_evaluator')
    elif getattr(model.head, 'cal_acc', False):
        _check_topk(model.head.topk, number, 'model.head')


def _check_number(model: nn.Module, number: int, classes: list, where: str) -> None:
    if len(classes) != number:
        raise UsageError(
            f'{where} has {len(classes)} classes ({_some(classes)}), but '
            f'model.head.num_classes is {number}; correct it, or move folders that are '
            'not classes elsewhere'
        )
    other = getattr(model.data_preprocessor, 'num_classes', None)
    if other is not None and other != number:
        raise UsageError(
            f'data_preprocessor.num_classes is {other}, but model.head.num_classes is '
            f'{number}; make them the same'
        )


def _check_topk(topk: Sequence[int] | None, number: int, where: str) -> None:
    if topk is not None and max(topk) > number:
        raise UsageError(
            f'{where}.topk is {tuple(topk)}, but there are {number} classes; write '
            f'topk={tuple(k for k in topk if k <= number) or (1,)}'
        )


def _classes(loop: BaseLoop | dict | None) -> list | None:
    dataset = loop.dataloader.dataset if isinstance(loop, BaseLoop) else None
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    return None if classes is None else list(classes)


def _without_wrappers(model: nn.Module) -> nn.Module:
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def _some(names: Sequence) -> str:
    return ', '.join(map(str, names[:5])) + ', ...' * (len(names) > 5)
