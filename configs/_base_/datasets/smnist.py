# MNIST as sequences of 784 pixels, row by row.
data_preprocessor = dict(num_classes=10)

to_tensor = [
    dict(type='torchvision/ToTensor'),
    dict(type='torchvision/Normalize', mean=(0.1307,), std=(0.3081,)),
]
to_sequence = [
    dict(type='smpconv_mm.ImageToSequence'),
    dict(type='PackInputs', meta_keys=('sample_idx',)),
]
train_pipeline = [
    dict(type='NumpyToPIL'),
    dict(
        type='RandomApply',
        prob=0.5,
        transforms=dict(type='torchvision/RandomAffine', degrees=30),
    ),
    dict(
        type='RandomApply',
        prob=0.5,
        transforms=dict(
            type='torchvision/RandomAffine', degrees=0, translate=(2 / 28, 2 / 28)
        ),
    ),
    dict(
        type='RandomApply',
        prob=0.5,
        transforms=dict(type='torchvision/RandomAffine', degrees=0, scale=(0.75, 1)),
    ),
    *to_tensor,
    # always a patch of 11x11
    dict(
        type='torchvision/RandomErasing',
        p=0.5,
        scale=(4 / 28, 4 / 28),
        ratio=(1, 1),
        value=0,
    ),
    *to_sequence,
]
test_pipeline = [dict(type='NumpyToPIL'), *to_tensor, *to_sequence]

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
        type='smpconv_mm.MNIST',
        data_root='data/mnist',
        split='train',
        pipeline=train_pipeline,
    ),
)
# As published: there is no validation split, the test split is evaluated while
# training. An honest result is that of the last epoch, not of the best.
val_dataloader = dict(
    **common,
    batch_size=250,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='smpconv_mm.MNIST',
        data_root='data/mnist',
        split='test',
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
