# ImageNet-1k with crops and flips alone.
_base_ = './imagenet_224.py'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=32, num_workers=4, dataset=dict(pipeline=train_pipeline)
)
val_dataloader = dict(
    batch_size=32, num_workers=4, dataset=dict(pipeline=test_pipeline)
)
test_dataloader = val_dataloader
