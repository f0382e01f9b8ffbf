# MNIST as images, not augmented.
_base_ = './smnist.py'

pipeline = [
    dict(type='NumpyToPIL'),
    *_base_.to_tensor,
    dict(type='PackInputs', meta_keys=('sample_idx',)),
]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
