# ImageNet downsampled to 32x32 (Chrabaszcz et al., 2017), a folder of images a class:
# data/imagenet32/{train,val}/CLASS/NAME.png. That of 64x64 is another data_root, with
# crop_size=64 and padding=8.
data_preprocessor = dict(
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
load = dict(type='LoadImageFromFile')
pack = dict(type='PackInputs', meta_keys=('sample_idx',))
common = dict(
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
)
train_dataloader = dict(
    **common,
    batch_size=64,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset',
        data_root='data/imagenet32',
        data_prefix='train',
        pipeline=[
            load,
            dict(type='RandomFlip', prob=0.5),
            dict(type='RandomCrop', crop_size=32, padding=4),
            pack,
        ],
    ),
)
val_dataloader = dict(
    **common,
    batch_size=256,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset',
        data_root='data/imagenet32',
        data_prefix='val',
        pipeline=[load, pack],
    ),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
