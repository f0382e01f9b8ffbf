"""Tiny data sets of drawn shapes in the formats of COCO and ADE20K.

Coloured circles, squares and triangles on a noisy ground; the same pictures for
training and validation, since the tests ask for overfitting.
"""

import json
import re
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle_tools

CONFIGS = Path(__file__).parents[1] / 'configs'
SHAPES = ('circle', 'square', 'triangle')
CATEGORY_IDS = (1, 3, 7)  # with gaps, as COCO's
COLOURS = ((60, 60, 220), (60, 200, 60), (220, 90, 60))


def outline(kind, x, y, radius):
    """Polygon (points, 2) of a shape around (x, y)."""
    corners = {0: 24, 1: 4, 2: 3}[kind]
    angles = 2 * np.pi * np.arange(corners) / corners
    angles += np.pi / 4 if kind == 1 else -np.pi / 2
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)


def kinds_of(index):
    """Kinds of the one to three shapes of an image."""
    return [(index + k) % len(SHAPES) for k in range(1 + index % 3)]


def draw_scene(rng, size, kinds):
    """An image (H, W, 3) and its shapes as (kind, polygon), not overlapping."""
    height, width = size
    image = rng.normal(128, 12, (height, width, 3))
    image = image.clip(0, 255).astype(np.uint8)
    shapes, taken = [], []
    while len(shapes) < len(kinds):
        radius = rng.uniform(0.15, 0.22) * min(size)
        x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
        if any(np.hypot(x - a, y - b) < radius + r for a, b, r in taken):
            continue
        taken.append((x, y, radius))
        kind = kinds[len(shapes)]
        polygon = outline(kind, x, y, radius)
        cv2.fillPoly(image, [polygon.round().astype(np.int32)], COLOURS[kind])
        shapes.append((kind, polygon))
    return image, shapes


def annotation(index, polygon, size, form):
    """Box, area and mask of a shape, the mask in one of COCO's three forms."""
    flat = [round(float(v), 2) for v in polygon.flatten()]
    rle = rle_tools.merge(rle_tools.frPyObjects([flat], *size))
    mask = rle_tools.decode(rle)
    rows, columns = np.nonzero(mask)
    box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    if form == 'polygon':
        segmentation = [flat]
    elif form == 'rle':
        segmentation = dict(size=list(size), counts=rle['counts'].decode())
    else:  # lengths of runs down the columns, zeros first
        runs = [(v, len(list(run))) for v, run in groupby(mask.T.flatten())]
        counts = [0] * int(runs[0][0]) + [length for _, length in runs]
        segmentation = dict(size=list(size), counts=counts)
    return dict(
        id=index,
        bbox=[int(v) for v in box],
        area=int(mask.sum()),
        segmentation=segmentation,
        iscrowd=0,
    )


def make_coco(root, images=8, size=(96, 128), seed=0):
    """A detection data set as COCO 2017 is laid out; returns its root.

    Masks are polygons, run lengths and compressed run lengths in turn; one
    object is a crowd, and the last image has no object.
    """
    root, rng = Path(root), np.random.default_rng(seed)
    records, annotations = [], []
    for folder in ('train2017', 'val2017', 'annotations'):
        (root / folder).mkdir(parents=True)
    for i in range(images):
        image, shapes = draw_scene(rng, size, kinds_of(i) if i < images - 1 else [])
        name = f'{i:012d}.png'
        for split in ('train2017', 'val2017'):
            cv2.imwrite(str(root / split / name), image)
        records.append(dict(id=i, file_name=name, height=size[0], width=size[1]))
        for kind, polygon in shapes:
            index = len(annotations)
            form = ('polygon', 'runs', 'rle')[index % 3]
            entry = annotation(index + 1, polygon, size, form)
            entry.update(image_id=i, category_id=CATEGORY_IDS[kind])
            annotations.append(entry)
    crowd = next(a for a in annotations if isinstance(a['segmentation'], dict))
    crowd['iscrowd'] = 1
    content = dict(
        images=records,
        annotations=annotations,
        categories=[dict(id=i, name=n) for i, n in zip(CATEGORY_IDS, SHAPES)],
    )
    for split in ('train', 'val'):
        path = root / 'annotations' / f'instances_{split}2017.json'
        path.write_text(json.dumps(content))
    return root


def make_ade(root, images=8, size=(96, 128), seed=0):
    """A segmentation data set as ADE20K is laid out; returns its root.

    The ground is class 1, shapes are 2 to 4 and a margin is unlabelled (0).
    """
    root, rng = Path(root), np.random.default_rng(seed)
    for i in range(images):
        image, shapes = draw_scene(rng, size, kinds_of(i))
        labels = np.ones(size, np.uint8)
        for kind, polygon in shapes:
            cv2.fillPoly(labels, [polygon.round().astype(np.int32)], kind + 2)
        labels[:2] = 0
        for split in ('training', 'validation'):
            for folder, suffix, picture in (
                ('images', 'jpg', image),
                ('annotations', 'png', labels),
            ):
                path = root / folder / split / f'ADE_{i:08d}.{suffix}'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), picture)
    return root


# small backbones by the first word of their names in recipes
SMALL = {
    'smpnet': """
channels = [16, 32, 48, 64]
backbone = dict(
    arch=dict(
        _delete_=True, channels=channels, depths=[1] * 4, kernel_sizes=[13, 11, 9, 7]
    ),
    drop_path_rate=0.0,
    init_cfg=None,
)
""",
    'convnext': """
channels = [16, 32, 48, 64]
backbone = dict(
    arch=dict(_delete_=True, channels=channels, depths=[1] * 4),
    drop_path_rate=0.0,
    init_cfg=None,
)
""",
    'rednet': """
channels = [64, 128, 256, 512]
backbone = dict(depth=26, base_channels=16, stem_channels=32, init_cfg=None)
""",
}
SMALL['cednet'] = SMALL['rednet']


def small_backbone(recipe):
    """Lines of a config that make the backbone of a recipe small."""
    kind = re.search('|'.join(SMALL), recipe)[0]
    return f'{SMALL[kind]}randomness = dict(seed=0)'


def small_detector(path, recipe, root):
    """Write a config: a recipe of configs/detection, or FOLDER/NAME of another
    folder, small, on :func:`make_coco`.
    """
    recipe = recipe if '/' in recipe else f'detection/{recipe}'
    roi = 'mask-rcnn' in recipe
    mask = ', with_mask=True' if roi else ''
    path.write_text(
        f"""
_base_ = {str(CONFIGS / recipe)!r}
{small_backbone(recipe)}
small = dict(in_channels=32, feat_channels=32)
maps = channels if {roi or 'smpnet' not in recipe} else channels[1:]
model = dict(backbone=backbone, neck=dict(in_channels=maps, out_channels=32))
if {roi}:
    model.update(
        rpn_head=dict(small, anchor_generator=dict(scales=[4])),
        roi_head=dict(
            bbox_roi_extractor=dict(out_channels=32),
            bbox_head=dict(in_channels=32, fc_out_channels=128, num_classes=3),
            mask_roi_extractor=dict(out_channels=32),
            mask_head=dict(
                in_channels=32, conv_out_channels=32, num_convs=2, num_classes=3
            ),
        ),
        train_cfg=dict(
            rpn_proposal=dict(nms_pre=200, max_per_img=50),
            rcnn=dict(sampler=dict(num=64)),
        ),
        test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=50)),
    )
else:
    model.update(
        bbox_head=dict(small, num_classes=3, stacked_convs=1),
        test_cfg=dict(score_thr=0.0),  # boxes from the first iteration on
    )

load = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 96), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True{mask}),
]
meta = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
train_pipeline = [
    load[0], load[2], load[1], dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [*load, dict(type='PackDetInputs', meta_keys=meta)]
dataset = dict(
    data_root={f'{root}/'!r}, metainfo=dict(classes={SHAPES!r}), pipeline=test_pipeline
)
here = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    **here,
    dataset=dict(
        dataset, pipeline=train_pipeline, filter_cfg=dict(filter_empty_gt=False)
    ),
)
val_dataloader = test_dataloader = dict(**here, dataset=dataset)
val_evaluator = dict(ann_file={f'{root}/annotations/instances_val2017.json'!r})
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=20),
    dict(type='CosineAnnealingLR', by_epoch=True, end=200, eta_min=1e-5),
]
default_hooks = dict(visualization=dict(interval=1))
"""
    )
    return path


UPERNET = 'segmentation/smpnet-tiny_upernet_4xb4-amp-160k_ade20k-512x512.py'


def small_segmenter(path, root, recipe=UPERNET):
    """Write a config: a recipe of UPerNet on ADE20K, small, on :func:`make_ade`."""
    path.write_text(
        f"""
_base_ = {str(CONFIGS / recipe)!r}
{small_backbone(recipe)}
model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=backbone,
    decode_head=dict(in_channels=channels, channels=32),
    auxiliary_head=dict(in_channels=channels[2], channels=16),
    test_cfg=dict(crop_size=(96, 96), stride=(64, 64)),
)
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
train_pipeline = [
    *load,
    dict(type='RandomCrop', crop_size=(96, 96)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    load[0],
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale_factor=r, keep_ratio=True) for r in (1.0, 1.25)],
            [dict(type='RandomFlip', prob=p) for p in (0.0, 1.0)],
            load[1:],
            [dict(type='PackSegInputs')],
        ],
    ),
]
dataset = dict(data_root={str(root)!r}, pipeline=[*load, dict(type='PackSegInputs')])
here = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(**here, dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(**here, dataset=dataset)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=20),
    dict(type='PolyLR', power=1.0, by_epoch=False, end=400),
]
default_hooks = dict(logger=dict(interval=20))
"""
    )
    return path
