# CIFAR-100 as images, not augmented; the last 5,000 training images are for validation.
_base_ = './cifar10-split.py'
data_preprocessor = dict(
    num_classes=100,
    mean=[129.3105, 124.1085, 112.404],
    std=[68.2125, 65.4075, 70.4055],
)

cifar100 = dict(type='smpconv_mm.CIFAR100', data_root='data/cifar100')
train_dataloader = dict(dataset=dict(**cifar100, pipeline=[_base_.pack]))
val_dataloader = dict(dataset=cifar100)
test_dataloader = dict(dataset=cifar100)
