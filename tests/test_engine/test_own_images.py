"""Training on a folder of images: what is found, what is set, what is refused."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from smpconv_mm.engine.config import check_data, load_config
from smpconv_mm.engine.own_images import use_images
from smpconv_mm.engine.runner import build_runner
from smpconv_mm.errors import UsageError, plain_errors

CONFIG = 'smpconv_mm::smpconv/smpnet-tiny_finetune_custom.py'


def write(root, **counts):
    for name, count in counts.items():
        folder = root / name.replace('__', '/')
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            cv2.imwrite(str(folder / f'{i}.png'), np.zeros((8, 8, 3), np.uint8))
    return root


def configure(root, work_dir, name=CONFIG):
    cfg = load_config(name)
    cfg.work_dir = str(work_dir)
    use_images(cfg, str(root))
    return cfg


def listed(cfg, phase):
    lines = Path(cfg[f'{phase}_dataloader'].dataset.ann_file).read_text().splitlines()
    return [tuple(line.rsplit(' ', 1)) for line in lines]


def test_holds_out_a_fifth(tmp_path):
    root = write(tmp_path / 'data', dog=30, cat=11, **{'a b': 1 + 1})
    cfg = configure(root, tmp_path / 'w')
    train, val = listed(cfg, 'train'), listed(cfg, 'val')
    assert cfg.train_dataloader.dataset.metainfo.classes == ['a b', 'cat', 'dog']
    assert [sum(label == str(i) for _, label in val) for i in range(3)] == [1, 2, 6]
    assert not {name for name, _ in train} & {name for name, _ in val}
    assert len(train) + len(val) == 43
    assert all(name.startswith(('a b', 'cat', 'dog')[int(i)]) for name, i in val)
    assert cfg.model.head.num_classes == 3 and cfg.model.head.topk == (1,)
    assert cfg.data_preprocessor.num_classes == 3
    assert cfg.train_dataloader.batch_size == 34 and cfg.val_dataloader.batch_size == 9
    # more images do not move old ones from one part to the other
    write(root, dog=31)
    again = configure(root, tmp_path / 'w2')
    moved = {n for n, _ in train} & {n for n, _ in listed(again, 'val')}
    assert len(moved) <= 1


def test_takes_train_and_val_as_they_are(tmp_path):
    root = write(tmp_path, train__x=3, train__y=3, val__x=1, val__y=2)
    cfg = configure(root, tmp_path / 'w')
    assert listed(cfg, 'val') == [('val/x/0.png', '0'), ('val/y/0.png', '1'),
                                  ('val/y/1.png', '1')]  # fmt: skip
    assert listed(cfg, 'test') == listed(cfg, 'val')


@pytest.mark.parametrize(
    'counts, message',
    [
        (dict(cat=5), 'needs two or more'),
        (dict(cat=5, dog=0), 'the folders dog .* too few images'),
        (dict(cat=5, dog=1), 'every class needs two'),
        (dict(train__cat=2, train__dog=2), 'no folder "val"'),
        (dict(train__a=2, train__b=2, val__a=1), 'same classes, see b'),
    ],
)
def test_refuses(tmp_path, counts, message):
    with pytest.raises(UsageError, match=message):
        configure(write(tmp_path, **counts), tmp_path / 'w')


def test_refuses_configs_without_image_files(tmp_path):
    root = write(tmp_path, cat=5, dog=5)
    name = 'smpconv_mm::smpconv/smpnet-micro_1xb64_digits.py'
    with pytest.raises(UsageError, match='does not read image files'):
        configure(root, tmp_path / 'w', name)
    name = (
        'smpconv_mm::segmentation/smpnet-tiny_upernet_4xb4-amp-160k_ade20k-512x512.py'
    )
    with pytest.raises(UsageError, match='for classifiers'):
        configure(root, tmp_path / 'w', name)
    with pytest.raises(UsageError, match="'nowhere' does not exist"):
        configure('nowhere', tmp_path / 'w')


def test_order_of_classes(tmp_path):
    """A config that names folders in another order would label them wrongly."""
    root = write(tmp_path, cat=2, dog=2)
    dataset = dict(type='CustomDataset', data_root=str(root), data_prefix='')
    cfg = Config(dict(val_dataloader=dict(dataset=dataset)))
    for classes in (['cat', 'dog'], ['Katze', 'Hund']):  # the same names, or others
        cfg.val_dataloader.dataset.metainfo = dict(classes=classes)
        check_data(cfg, ('val',))
    cfg.val_dataloader.dataset.metainfo = dict(classes=['dog', 'cat'])
    with pytest.raises(UsageError, match=r"alphabetical order; write classes=\['cat'"):
        check_data(cfg, ('val',))


def test_a_short_training_is_evaluated_by_trained_weights():
    """The momentum of the averaged weights starts large in every recipe."""
    for name in ('smpnet-tiny_4xb256_in1k', 'smpnet-tiny_finetune_custom'):
        (hook,) = load_config(f'smpconv_mm::smpconv/{name}.py').custom_hooks
        assert hook.ema_type == 'MomentumAnnealingEMA' and hook.gamma == 10


def run(root, tmp_path, **options):
    """Train on a folder by a config that names it; returns the error, if any."""
    cfg = load_config(CONFIG)
    sizes = dict(channels=[8] * 4, depths=[1] * 4, kernel_sizes=[5] * 4)
    cfg.merge_from_dict(
        {
            'work_dir': str(tmp_path / 'work'),
            'model.backbone': dict(_delete_=True, type='smpconv_mm.SMPNet', arch=sizes),
            'model.head.in_channels': 8,
            'custom_hooks': [],
            'train_cfg.max_epochs': 1,
            'param_scheduler': [dict(type='ConstantLR', factor=1.0)],
        }
    )
    resize = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=32),
              dict(type='PackInputs')]  # fmt: skip
    for phase in ('train', 'val'):
        loader = cfg[f'{phase}_dataloader']
        loader.update(batch_size=4, num_workers=0)
        loader.dataset.update(data_root=str(root), pipeline=resize)
    cfg.merge_from_dict(options)
    with pytest.raises(SystemExit) as info, plain_errors():
        check_data(cfg, ('train', 'val'))
        build_runner(cfg).train()
        raise SystemExit('trained')
    return str(info.value)


FOUR = dict(train__a=3, train__b=3, val__a=1, val__b=1)
FEW = {'train_dataloader.batch_size': 7}
MIXED = {'data_preprocessor.num_classes': 3}
TOPK = {'val_evaluator.topk': (1, 5)}
HEAD = {'model.head.topk': (1, 5), 'model.head.cal_acc': True}


@pytest.mark.parametrize(
    'counts, options, message',
    [
        ({}, {}, 'trained'),
        ({}, FEW, r'6 samples give no batch of 7 \(drop_last=True'),
        (dict(train__misc=1), {}, r'has 3 classes \(a, b, misc\), but model.head'),
        (dict(val__aa=1), {}, r'val_dataloader has 3 classes \(a, aa, b\)'),
        ({}, {'model.head.num_classes': 5}, 'head.num_classes is 5; correct it, or'),
        (
            {},
            {'data_preprocessor.num_classes': 3},
            'data_preprocessor.num_classes is 3',
        ),
        ({}, TOPK, r'val_evaluator.topk is \(1, 5\), but there are 2 .* topk=\(1,\)'),
        ({}, HEAD, r'model.head.topk is \(1, 5\), but there are 2 classes'),
    ],
    ids=[
        'right',
        'few',
        'stray',
        'stray val',
        'head',
        'preprocessor',
        'topk',
        'head k',
    ],
)
def test_data_that_do_not_fit(tmp_path, counts, options, message):
    root = write(tmp_path / 'data', **FOUR, **counts)
    assert re.search(message, run(root, tmp_path, **options))


def test_other_classes_in_validation(tmp_path):
    """As many, so that only their names tell."""
    root = write(tmp_path / 'data', **{**FOUR, 'val__b': 0, 'val__c': 1})
    (root / 'val/b').rmdir()
    assert re.search(r'other classes.*a, b against a, c; see b, c', run(root, tmp_path))


def test_a_label_that_is_no_class(tmp_path):
    root = write(tmp_path / 'data', **FOUR)
    (root / 'list.txt').write_text(
        '\n'.join(f'train/a/{i}.png {7 * (i == 1)}' for i in (0, 1, 2, 0))
    )
    options = {'train_dataloader.dataset': dict(ann_file='list.txt', data_prefix='')}
    assert 'a sample has a label for which' in run(root, tmp_path, **options)
