"""Training on a folder of images: what is found, what is set, what is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from smpconv_mm.engine.config import check_data, load_config
from smpconv_mm.engine.own_images import use_images
from smpconv_mm.errors import UsageError

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
