"""Detectors and segmenters trained, resumed, tested and drawn by the tools.

In the default run a few iterations; ``pytest -m slow`` trains until the tiny
data sets are learned by heart.
"""

import json

import cv2
import pytest
from tiny_datasets import make_ade, make_coco, small_detector, small_segmenter

from smpconv_mm.utils.checkpoint import load
from smpconv_mm.visualization import read_scalars

FULL = [False, pytest.param(True, marks=pytest.mark.slow)]


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    return make_coco(tmp_path_factory.mktemp('coco'))


@pytest.fixture(scope='module')
def ade(tmp_path_factory):
    return make_ade(tmp_path_factory.mktemp('ade'))


def measured(work_dir, key, step):
    """A metric as it was logged while training."""
    return dict(read_scalars(work_dir)[key])[step]


def test_formats(coco, ade):
    """The files say what was drawn."""
    from pycocotools.coco import COCO

    api = COCO(coco / 'annotations/instances_train2017.json')
    forms = set()
    for entry in api.dataset['annotations']:
        mask, segmentation = api.annToMask(entry), entry['segmentation']
        forms.add(
            type(segmentation['counts']) if 'counts' in segmentation else 'polygon'
        )
        x, y, w, h = entry['bbox']
        assert mask.sum() == entry['area'] == mask[y : y + h, x : x + w].sum() > 100
    assert forms == {'polygon', list, str}
    labels = cv2.imread(str(ade / 'annotations/training/ADE_00000002.png'), -1)
    assert set(labels.flatten()) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize('full', FULL)
def test_mask_rcnn(run_tool, coco, tmp_path, full):
    recipe = 'mask-rcnn_smpnet-tiny_fpn_8xb2-amp-1x_coco.py'
    config = small_detector(tmp_path / 'small.py', recipe, coco)
    epochs = 160 if full else 2
    options = ['--cfg-options', f'param_scheduler.1.end={epochs}']
    options += [f'train_cfg.val_interval={epochs}']
    if not full:  # two iterations an epoch
        options += ['train_dataloader.dataset.indices=4']
    where = ('--work-dir', tmp_path)
    half = f'train_cfg.max_epochs={epochs // 2}'
    run_tool('train.py', config, *where, *options, half)
    done = run_tool(
        'train.py',
        config,
        *where,
        '--resume',
        *options,
        f'train_cfg.max_epochs={epochs}',
    )
    assert f'resumed epoch: {epochs // 2}' in done.stdout
    assert 'trains in float32 instead of mixed precision' in done.stderr
    run_tool(
        'test.py',
        config,
        tmp_path / f'epoch_{epochs}.pth',
        '--work-dir',
        tmp_path,
        '--out',
        tmp_path / 'metrics.json',
        '--show-dir',
        tmp_path / 'show',
    )
    found = json.loads((tmp_path / 'metrics.json').read_text())
    for key in ('coco/bbox_mAP', 'coco/segm_mAP'):
        assert found[key] == pytest.approx(
            dict(read_scalars(tmp_path)[key])[epochs], abs=2e-3
        )
    pictures = list((tmp_path / 'show').glob('*.png'))
    assert len(pictures) == 8 and all(cv2.imread(str(p)).std() > 5 for p in pictures)
    if full:
        assert found['coco/bbox_mAP'] > 0.5


def test_retinanet_in_two_processes(run_tool, coco, tmp_path):
    recipe = 'retinanet_smpnet-tiny_fpn_8xb2-1x_coco.py'
    config = small_detector(tmp_path / 'small.py', recipe, coco)
    where = ('--work-dir', tmp_path)
    done = run_tool(
        'dist_train.sh',
        config,
        2,
        *where,
        '--auto-scale-lr',
        '--no-validate',
        '--cfg-options',
        'train_cfg.max_epochs=1',
        env={'PORT': '29618'},
    )
    # two processes x two images instead of sixteen
    assert 'Scaling the original LR by 0.25' in done.stdout
    assert load(tmp_path / 'epoch_1.pth')['meta']['iter'] == 2
    run_tool(
        'test.py',
        config,
        tmp_path / 'epoch_1.pth',
        *where,
        '--tta',
        '--out',
        tmp_path / 'predictions.pkl',
    )
    assert (tmp_path / 'predictions.pkl').stat().st_size > 0


@pytest.mark.parametrize('full', FULL)
def test_upernet(run_tool, ade, tmp_path, full):
    config = small_segmenter(tmp_path / 'small.py', ade)
    where = ('--work-dir', tmp_path)
    iters = 300 if full else 2
    run_tool(
        'train.py',
        config,
        *where,
        '--cfg-options',
        f'train_cfg.max_iters={iters}',
        f'train_cfg.val_interval={iters}',
        f'default_hooks.checkpoint.interval={iters}',
        f'param_scheduler.1.end={iters}',
    )
    run_tool(
        'test.py',
        config,
        tmp_path / f'iter_{iters}.pth',
        *where,
        '--tta',
        '--out',
        tmp_path / 'metrics.json',
        '--show-dir',
        tmp_path / 'show',
        '--interval',
        4,
    )
    found = json.loads((tmp_path / 'metrics.json').read_text())
    assert 0 <= found['mIoU'] <= 100
    pictures = list((tmp_path / 'show').rglob('*.png'))
    assert len(pictures) == 2
    # two halves: the labels and the prediction over the image
    assert all(cv2.imread(str(p)).shape == (96, 256, 3) for p in pictures)
    if full:
        assert measured(tmp_path, 'mIoU', iters) > 80
        assert found['mIoU'] > 80
