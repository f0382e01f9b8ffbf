# The same as sequences of 1024 pixels, row by row; normalised in the pipeline.
_base_ = './cifar10-split.py'
data_preprocessor = dict(_delete_=True, num_classes=10)

to_sequence = [
    dict(type='Normalize', **_base_.statistics),
    dict(type='smpconv_mm.ImageToSequence'),
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=[*_base_.augment, *to_sequence]))
val_dataloader = dict(dataset=dict(pipeline=to_sequence))
test_dataloader = dict(dataset=dict(pipeline=to_sequence))
