# MNIST as sequences of 784 pixels, not augmented; the last 5,000 training images are
# for validation.
_base_ = './smnist.py'

train_dataloader = dict(
    batch_size=100, dataset=dict(indices=55000, pipeline=_base_.test_pipeline)
)
val_dataloader = dict(dataset=dict(split='train', indices=-5000))
test_dataloader = dict(dataset=dict(split='test'))
