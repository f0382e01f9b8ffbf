# CIFAR-10 as images, normalised by the statistics of ImageNet as published.
data_preprocessor = dict(
    num_classes=10,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

augment = [
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomCrop', crop_size=32, padding=4),
]
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
        type='smpconv_mm.CIFAR10',
        data_root='data/cifar10',
        split='train',
        pipeline=[*augment, pack],
    ),
)
# As published: there is no validation split, the test split is evaluated while
# training. An honest result is that of the last epoch, not of the best.
val_dataloader = dict(
    **common,
    batch_size=250,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='smpconv_mm.CIFAR10',
        data_root='data/cifar10',
        split='test',
        pipeline=[pack],
    ),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
