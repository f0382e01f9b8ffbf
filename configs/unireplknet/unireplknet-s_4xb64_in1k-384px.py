# Fine-tuning of weights trained on ImageNet-21k.
_base_ = [
    '../_base_/models/unireplknet-t.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_384.py',
    '../_base_/schedules/in1k_adamw_finetune_30e.py',
    '../_base_/default_runtime.py',
]

# the published recipe augments here as for 224 pixels, and crops nothing in the test
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop', scale=384, backend='pillow', interpolation='bicubic'
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=[103.53, 116.28, 123.675],
        fill_std=[57.375, 57.12, 58.395],
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(
    backbone=dict(
        arch='s',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='checkpoints/unireplknet-s_in21k.pth',
            prefix='backbone.',
        ),
    ),
    # the first scores are near zero
    head=dict(in_channels=768, init_cfg=dict(std=2e-5)),
    train_cfg=None,  # no mixing of images
)
