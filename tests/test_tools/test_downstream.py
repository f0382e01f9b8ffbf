"""Detectors and segmenters trained, resumed, tested and drawn by the tools.

In the default run a few iterations; ``pytest -m slow`` trains until the tiny
data sets are learned by heart.
"""

import json

import cv2
import pytest
import torch
from running import run_in_processes
from tiny_datasets import make_ade, make_coco, small_detector, small_segmenter

from smpconv_mm.checkpoint import load
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


def run_test(run_tool, config, checkpoint, folder, *options):
    """Metrics, and pictures of the predictions."""
    out, show = folder / 'metrics.json', folder / 'show'
    where = ('--work-dir', folder / 'test', '--out', out, '--show-dir', show)
    run_tool('test.py', config, checkpoint, *where, *options)
    pictures = [cv2.imread(str(path)) for path in show.rglob('*.png')]
    return json.loads(out.read_text()), pictures


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
    work = tmp_path / 'work'  # not beside the config: MMEngine writes it there
    epochs = 200 if full else 2
    options = [
        '--work-dir',
        work,
        '--resume',
        '--cfg-options',
        f'param_scheduler.1.end={epochs}',
        f'train_cfg.val_interval={epochs}',
    ]
    if not full:  # two iterations an epoch
        options.append('train_dataloader.dataset.indices=4')
    run_tool('train.py', config, *options, f'train_cfg.max_epochs={epochs // 2}')
    done = run_tool('train.py', config, *options, f'train_cfg.max_epochs={epochs}')
    assert f'resumed epoch: {epochs // 2}' in done.stdout
    assert 'trains in float32 instead of mixed precision' in done.stdout
    found, pictures = run_test(run_tool, config, work / f'epoch_{epochs}.pth', tmp_path)
    for key in ('coco/bbox_mAP', 'coco/segm_mAP'):
        assert found[key] == pytest.approx(measured(work, key, epochs), abs=2e-3)
    assert len(pictures) == 8 and all(p.std() > 5 for p in pictures)
    if full:
        assert found['coco/bbox_mAP'] > 0.5


INVOLUTION = [
    'mask-rcnn_rednet-50_involution-fpn-head_8xb2-1x_coco',
    'retinanet_cednet-50_cvolution-fpn_8xb2-1x_coco',
]


@pytest.mark.parametrize('name', INVOLUTION)
def test_involutions_in_necks_and_heads(run_tool, coco, tmp_path, name):
    """Two iterations, two more after resuming, then tested."""
    config = small_detector(tmp_path / 'small.py', f'involution/{name}.py', coco)
    work = tmp_path / 'work'
    options = ('--work-dir', work, '--resume', '--cfg-options')
    options += ('train_dataloader.dataset.indices=4', 'param_scheduler.1.end=2')
    run_tool('train.py', config, *options, 'train_cfg.max_epochs=1')
    done = run_tool('train.py', config, *options, 'train_cfg.max_epochs=2')
    assert 'resumed epoch: 1, iter: 2' in done.stdout
    assert load(work / 'epoch_2.pth')['meta']['iter'] == 4
    before, after = (load(work / f'epoch_{i}.pth')['state_dict'] for i in (1, 2))
    assert all(torch.isfinite(value).all() for value in after.values())
    learned = {
        key
        for key, value in after.items()
        if key.endswith('conv2.conv.weight') or key.endswith('conv2.0.weight')
        if not torch.equal(value, before[key])
    }
    parts = ['neck.fpn_convs']
    if 'head' in name:
        parts += ['rpn_head.rpn_conv', 'roi_head.mask_head.convs']
    for part in parts:
        assert any(key.startswith(part) for key in learned), part
    found, pictures = run_test(run_tool, config, work / 'epoch_2.pth', tmp_path)
    assert found['coco/bbox_mAP'] == pytest.approx(
        measured(work, 'coco/bbox_mAP', 2), abs=2e-3
    )
    assert len(pictures) == 8


def test_segmenter_with_oriented_kernels(run_tool, ade, tmp_path):
    recipe = 'oriented1d/convnext-1dpp-tiny_upernet_4xb4-160k_ade20k-512x512.py'
    config = small_segmenter(tmp_path / 'small.py', ade, recipe)
    work = tmp_path / 'work'
    options = ('train_cfg.max_iters=2', 'default_hooks.checkpoint.interval=2')
    run_tool('train.py', config, '--work-dir', work, '--cfg-options', *options)
    state = load(work / 'iter_2.pth')['state_dict']
    assert all(torch.isfinite(value).all() for value in state.values())
    found, _ = run_test(run_tool, config, work / 'iter_2.pth', tmp_path)
    assert 0 <= found['mIoU'] <= 100


def test_retinanet_in_two_processes(run_tool, coco, tmp_path):
    recipe = 'retinanet_smpnet-tiny_fpn_8xb2-1x_coco.py'
    config = small_detector(tmp_path / 'small.py', recipe, coco)
    work = tmp_path / 'work'
    done = run_in_processes(
        'train.py',
        config,
        '--work-dir',
        work,
        '--auto-scale-lr',
        '--no-validate',
        '--cfg-options',
        'train_cfg.max_epochs=1',
    )
    # two processes x two images instead of sixteen
    assert 'Scaling the original LR by 0.25' in done.stdout
    assert load(work / 'epoch_1.pth')['meta']['iter'] == 2
    found, _ = run_test(run_tool, config, work / 'epoch_1.pth', tmp_path, '--tta')
    assert 0 <= found['coco/bbox_mAP'] <= 1


@pytest.mark.parametrize('full', FULL)
def test_upernet(run_tool, ade, tmp_path, full):
    config = small_segmenter(tmp_path / 'small.py', ade)
    work = tmp_path / 'work'
    iters = 400 if full else 2
    run_tool(
        'train.py',
        config,
        '--work-dir',
        work,
        '--cfg-options',
        f'train_cfg.max_iters={iters}',
        f'train_cfg.val_interval={iters}',
        f'default_hooks.checkpoint.interval={iters}',
        f'param_scheduler.1.end={iters}',
    )
    checkpoint = work / f'iter_{iters}.pth'
    options = ('--tta', '--interval', 4)
    found, pictures = run_test(run_tool, config, checkpoint, tmp_path, *options)
    # two halves: the labels and the prediction over the image
    assert [p.shape for p in pictures] == [(96, 256, 3)] * 2
    assert 0 <= found['mIoU'] <= 100
    if full:
        assert measured(work, 'mIoU', iters) > 80
        assert found['mIoU'] > 80


@pytest.mark.parametrize('kind', ['detector', 'involutions', 'segmenter'])
def test_bfloat16(run_tool, coco, ade, tmp_path, kind):
    """Trained and tested in bfloat16 on a CPU, which has no GPU's float16."""
    if kind != 'segmenter':
        recipe = 'mask-rcnn_smpnet-tiny_fpn_8xb2-amp-1x_coco.py'
        if kind == 'involutions':
            recipe = f'involution/{INVOLUTION[0]}.py'
        config = small_detector(tmp_path / 'small.py', recipe, coco)
        length = ['train_cfg.max_epochs=1', 'train_dataloader.dataset.indices=4']
        checkpoint, metric = 'epoch_1.pth', 'coco/segm_mAP'
    else:
        config = small_segmenter(tmp_path / 'small.py', ade)
        length = ['train_cfg.max_iters=2', 'default_hooks.checkpoint.interval=2']
        checkpoint, metric = 'iter_2.pth', 'mIoU'
    work = tmp_path / 'work'
    args = ('--work-dir', work, '--amp', 'bfloat16', '--no-validate')
    run_tool('train.py', config, *args, '--cfg-options', *length)
    state = load(work / checkpoint)['state_dict']
    assert {v.dtype for v in state.values()} <= {torch.float32, torch.int64}
    assert all(torch.isfinite(v).all() for v in state.values())
    out = tmp_path / 'metrics.json'
    args = ('--work-dir', work / 'test', '--out', out)
    run_tool('test.py', config, work / checkpoint, *args, '--amp')
    assert metric in json.loads(out.read_text())
