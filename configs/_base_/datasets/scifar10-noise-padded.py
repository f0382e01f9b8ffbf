# CIFAR-10, a row of 96 values per step, 32 steps, then noise up to 1000 steps.
_base_ = './cifar10.py'
data_preprocessor = dict(_delete_=True, num_classes=10)

to_sequence = [
    dict(
        type='Normalize',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    dict(type='smpconv_mm.RowsToSequence', length=1000, noise_seed=0),
]
train_dataloader = dict(
    dataset=dict(pipeline=[*_base_.augment, *to_sequence, _base_.pack])
)
val_dataloader = dict(dataset=dict(pipeline=[*to_sequence, _base_.pack]))
test_dataloader = val_dataloader
