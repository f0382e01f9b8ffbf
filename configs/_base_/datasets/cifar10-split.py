# CIFAR-10 as images, normalised by its own statistics; the last 5,000 training images
# are for validation.
_base_ = './cifar10.py'

statistics = dict(
    mean=[125.307, 122.961, 113.8575], std=[62.985, 61.965, 66.555], to_rgb=True
)
data_preprocessor = dict(**statistics)
augment = [
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomCrop', crop_size=32, padding=4, padding_mode='symmetric'),
]
train_dataloader = dict(
    batch_size=50, dataset=dict(indices=45000, pipeline=[*augment, _base_.pack])
)
val_dataloader = dict(dataset=dict(split='train', indices=-5000))
test_dataloader = dict(dataset=dict(split='test'))
