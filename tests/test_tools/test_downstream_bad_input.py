"""One line that tells what is wrong and what to do, for detection and segmentation."""

import json
import sys
from pathlib import Path

import cv2
import mmengine.config.config
import pytest
from tiny_datasets import make_ade, make_coco, small_detector, small_segmenter

from smpconv_mm.engine.config import (
    check_data,
    drop_validation,
    load_config,
    set_tta,
    set_work_dir,
)
from smpconv_mm.engine.runner import build_runner
from smpconv_mm.errors import plain_errors

ROOT = Path(__file__).parents[2]
RETINANET = 'retinanet_smpnet-tiny_fpn_8xb2-1x_coco.py'
MASK_RCNN = 'mask-rcnn_smpnet-tiny_fpn_8xb2-amp-1x_coco.py'


@pytest.fixture
def detector(tmp_path):
    root = make_coco(tmp_path / 'coco', images=4)
    return small_detector(tmp_path / 'small.py', MASK_RCNN, root)


@pytest.fixture
def segmenter(tmp_path):
    root = make_ade(tmp_path / 'ade', images=4)
    return small_segmenter(tmp_path / 'small.py', root)


def fails(config, tta=False, **options):
    """Message of what tools/train.py does."""
    with pytest.raises(SystemExit) as info, plain_errors():
        cfg = load_config(str(config), options)
        set_work_dir(cfg, str(config.parent / 'work'))
        drop_validation(cfg)
        if tta:
            set_tta(cfg)
        check_data(cfg, ('train',))
        build_runner(cfg).train()
    return str(info.value)


@pytest.mark.parametrize('channels', [[16, 32, 48, 99], [32, 48, 64]])
def test_neck_that_does_not_fit(detector, channels):
    message = fails(detector, **{'model.neck.in_channels': channels})
    assert f'model.neck takes in_channels={channels}, but SMPNet' in message
    assert 'out_indices=(0, 1, 2, 3) gives maps of [16, 32, 48, 64]' in message


@pytest.mark.parametrize(
    'key, value',
    [
        ('decode_head.in_channels', [16, 32, 48, 99]),
        ('auxiliary_head.in_channels', 64),
        ('auxiliary_head.in_index', 4),
    ],
)
def test_head_that_does_not_fit(segmenter, key, value):
    message = fails(segmenter, **{f'model.{key}': value})
    assert f'model.{key.split(".")[0]} takes' in message
    assert 'gives maps of [16, 32, 48, 64] channels' in message


@pytest.mark.parametrize('workers', [0, 1])
def test_image_of_zero_area(detector, tmp_path, workers):
    (tmp_path / 'coco/train2017/000000000001.png').write_bytes(b'')
    message = fails(detector, **{'train_dataloader.num_workers': workers})
    assert 'is empty (0 bytes); "find DATA_FOLDER -empty" names it' in message


@pytest.mark.parametrize('fault', ['no annotation', 'no class', 'no width'])
def test_nothing_to_learn_from(detector, tmp_path, fault):
    path = tmp_path / 'coco/annotations/instances_train2017.json'
    content = json.loads(path.read_text())
    options = {
        'train_dataloader.dataset.filter_cfg': dict(filter_empty_gt=True, min_size=32)
    }
    if fault == 'no annotation':
        content['annotations'] = []
    elif fault == 'no width':
        content['images'] = [dict(i, width=0) for i in content['images']]
    else:
        options['train_dataloader.dataset.metainfo.classes'] = tuple('abcde')
    path.write_text(json.dumps(content))
    message = fails(detector, **options)
    assert str(path) in message and 'no sample to use' in message
    assert ('a, b, c, ... (5 classes)' in message) == (fault == 'no class')
    assert 'metainfo.classes or filter_cfg' in message


def test_label_outside_of_the_range(segmenter, tmp_path):
    path = tmp_path / 'ade/annotations/training/ADE_00000002.png'
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    labels[:, 60] = 180
    cv2.imwrite(str(path), labels)
    message = fails(segmenter)
    # labels of ADE20K are shifted by one, since 0 is not a class
    assert f'{path} holds the label 179' in message
    assert 'classes 0..149 and ignores 255' in message
    assert 'num_classes' in message


def test_cascade_of_decoders(segmenter):
    """A stock OCRNet, whose decode_head is a list, is trained with the recipe."""
    cfg = load_config(str(segmenter))
    fcn = dict(
        type='FCNHead',
        in_channels=64,
        in_index=3,
        channels=16,
        num_convs=1,
        num_classes=150,
    )
    ocr = dict(fcn, type='OCRHead', ocr_channels=16)
    del ocr['num_convs']
    cfg.model.update(type='CascadeEncoderDecoder', num_stages=2, decode_head=[fcn, ocr])
    cfg.model.auxiliary_head = None
    set_work_dir(cfg, str(segmenter.parent / 'work'))
    drop_validation(cfg)
    cfg.train_cfg.max_iters = 1
    runner = build_runner(cfg)
    runner.train()
    assert runner.iter == 1
    cfg.model.decode_head[1].num_classes = 3  # fewer than there are labels
    cfg.experiment_name = 'again'
    with pytest.raises(ValueError, match=r'holds the label 3, .* classes 0\.\.2'):
        build_runner(cfg).train()


@pytest.mark.parametrize('recipe', [MASK_RCNN, RETINANET])
def test_number_of_classes(tmp_path, recipe):
    root = make_coco(tmp_path / 'coco', images=4)
    config = small_detector(tmp_path / 'small.py', recipe, root)
    head = 'bbox_head' if recipe == RETINANET else 'roi_head.bbox_head'
    message = fails(config, **{f'model.{head}.num_classes': 2})
    assert 'config: The `num_classes` (2) in' in message
    assert 'the length of `classes` 3) in CocoDataset' in message


def test_augmented_test_of_masks(detector):
    message = fails(detector, tta=True)
    assert 'tta_model and tta_pipeline' in message
    assert 'boxes only, not for masks' in message


@pytest.mark.parametrize(
    'config, name, package, message',
    [
        (f'detection/{MASK_RCNN}', 'mmdet', 'mmdet', ': mmdet is not installed'),
        (f'detection/{MASK_RCNN}', 'mmdet', '', 'needs mmdet, which is not installed'),
        (f'detection/{MASK_RCNN}', 'mmcv._ext', '', 'mmcv-lite has none'),
        (
            'segmentation/smpnet-tiny_fpn_4xb4-80k_cityscapes-512x1024.py',
            'mmseg',
            'mmsegmentation',
            ': mmsegmentation is not installed',
        ),
    ],
)
def test_missing_package(run_tool, monkeypatch, config, name, package, message):
    """Level core, whose user tries to train a detector."""
    installed = mmengine.config.config.is_installed
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(
        mmengine.config.config,
        'is_installed',
        lambda asked: asked != package and installed(asked),
    )
    done = run_tool('train.py', ROOT / 'configs' / config, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith('error: '), done.stderr[-1500:]
    assert message in last and 'bash tools/install.sh --level full' in last
    assert 'Traceback' not in done.stderr
