"""Training on a folder of images with any config of a classifier."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger

from smpconv_mm.checkpoint import atomic_path
from smpconv_mm.errors import UsageError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp')
HELD_OUT = 5  # every fifth image, where there is no folder `val`


def use_images(cfg: Config, folder: str) -> None:
    """Make a classifier's config train, validate and test on a folder of images.

    The folder has a subfolder for each class, or ``train`` and ``val`` (and maybe
    ``test``) with a subfolder for each class. Without ``val`` a fifth of the images
    of each class is held out: always the same ones, whatever else is added; the
    lists are written into the work dir. Classes are the subfolders in alphabetical
    order. Batches larger than the number of images are made smaller.

    Args:
        cfg (Config): Config of a classifier of mmpretrain, with a ``work_dir``;
            changed in place.
        folder (str): The folder.

    Raises:
        UsageError: If the config is of another kind, or the folder does not hold at
            least two classes with at least two images each.
    """
    if cfg.get('default_scope', 'mmpretrain') != 'mmpretrain':
        raise UsageError(
            '--data takes a folder for each class, which is for classifiers; '
            f'{cfg.filename} is of {cfg.default_scope}'
        )
    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        raise UsageError(f'--data: folder {folder!r} does not exist')
    if (root / 'train').is_dir():
        found = {split: _images(root / split) for split in ('train', 'val', 'test')}
        train, val = found['train'], found['val']
        if not val:
            raise UsageError(
                f'--data: {root} has a folder "train" but no folder "val" with images; '
                'add it, or put the folders of the classes directly into the folder'
            )
        for split in ('val', 'test'):
            if found[split] and set(found[split]) != set(train):
                odd = sorted(set(found[split]) ^ set(train))
                raise UsageError(
                    f'--data: {root}/{split} and {root}/train do not have the same '
                    f'classes, see {", ".join(odd)}'
                )
        test = found['test'] or val
    else:
        train, val = _hold_out(_images(root))
        test = val
    _check(root, train)
    classes = sorted(train)
    lists = Path(cfg.work_dir).resolve() / 'images'
    for split, images in (('train', train), ('val', val), ('test', test)):
        loader = cfg[f'{split}_dataloader']
        dataset = loader.dataset
        if not any(t['type'].endswith('LoadImageFromFile') for t in dataset.pipeline):
            raise UsageError(
                f'--data: the pipeline of {split}_dataloader does not read image '
                'files; take a config for images, such as '
                'configs/smpconv/smpnet-tiny_finetune_custom.py'
            )
        count = _write_list(lists / f'{split}.txt', images, classes)
        loader.dataset = dict(
            type='mmpretrain.CustomDataset',
            data_root=str(root),
            ann_file=str(lists / f'{split}.txt'),
            metainfo=dict(classes=classes),
            pipeline=dataset.pipeline,
        )
        if loader.get('batch_size', 1) > count:
            loader.batch_size = count
    _set_classes(cfg, len(classes))
    some = ', '.join(classes[:10]) + (', ...' if len(classes) > 10 else '')
    counts = [sum(map(len, images.values())) for images in (train, val)]
    MMLogger.get_current_instance().info(
        f'{root}: {counts[0]} images to train with, {counts[1]} to validate with, '
        f'{len(classes)} classes: {some}'
    )


def _images(folder: Path) -> dict[str, list[str]]:
    """Image files by class, relative to the folder of the data, in order."""
    top = folder.parent if folder.name in ('train', 'val', 'test') else folder
    return {
        sub.name: sorted(
            str(path.relative_to(top))
            for path in sub.rglob('*')
            if path.suffix.lower() in SUFFIXES
        )
        for sub in sorted(folder.glob('[!.]*'))
        if sub.is_dir()
    }


def _hold_out(images: dict[str, list[str]]) -> tuple[dict, dict]:
    """Split each class; the order is that of a hash of the names."""
    train, val = {}, {}
    for name, paths in images.items():
        order = sorted(paths, key=lambda p: hashlib.sha1(p.encode()).digest())
        count = max(1, len(paths) // HELD_OUT)
        val[name], train[name] = sorted(order[:count]), sorted(order[count:])
    return train, val


def _check(root: Path, train: dict[str, list[str]]) -> None:
    empty = [name for name, images in train.items() if not images]
    if empty:
        raise UsageError(
            f'--data: the folders {", ".join(empty)} of {root} hold too few images '
            f'({", ".join(SUFFIXES)}); every class needs two. Add some, or move '
            'folders that are not classes elsewhere'
        )
    if len(train) < 2:
        raise UsageError(
            f'--data: {root} has {len(train)} folders with images; a classifier needs '
            'two or more, one for each class'
        )


def _write_list(path: Path, images: dict[str, list[str]], classes: list[str]) -> int:
    lines = [
        f'{image} {label}'
        for label, name in enumerate(classes)
        for image in images[name]
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text('\n'.join(lines))
    return len(lines)


def _set_classes(cfg: Config, count: int) -> None:
    """Tell the head, the preprocessor and the metrics how many classes there are."""
    head = cfg.model.get('head') or {}
    if 'num_classes' not in head:
        raise UsageError(
            f'--data: model.head of {cfg.filename} has no num_classes to be set'
        )
    head.num_classes = count
    for part in (cfg, cfg.model):
        if 'data_preprocessor' in part:
            part.data_preprocessor.num_classes = count
    topk = (1, 5) if count > 5 else (1,)
    if 'topk' in head:
        head.topk = topk
    for key in ('val_evaluator', 'test_evaluator'):
        metrics = cfg[key] if isinstance(cfg[key], list) else [cfg[key]]
        for metric in metrics:
            if metric.type.endswith('Accuracy'):
                metric.topk = topk
