# The task "Image" of the Long Range Arena with its two axes: CIFAR-10 in grey; the last
# 5,000 training images are for validation.
_base_ = './cifar10-split.py'
data_preprocessor = dict(_delete_=True, num_classes=10)

to_grey = [
    dict(type='NumpyToPIL', to_rgb=True),
    dict(type='torchvision/Grayscale'),
    dict(type='torchvision/ToTensor'),
    dict(type='torchvision/Normalize', mean=(122.6 / 255,), std=(61 / 255,)),
]
pipeline = [*to_grey, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))
