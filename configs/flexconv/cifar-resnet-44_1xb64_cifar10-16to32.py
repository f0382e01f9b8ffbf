# The baseline of the training across resolutions, its second half: images of 32x32.
_base_ = ['./cifar-resnet-44_1xb64_cifar10-16.py']

train_dataloader = dict(dataset=dict(pipeline=[*_base_.augment, _base_.pack]))
val_dataloader = dict(dataset=dict(pipeline=[_base_.pack]))
test_dataloader = val_dataloader
load_from = 'work_dirs/cifar-resnet-44_1xb64_cifar10-16/epoch_100.pth'
# accuracy before the training: that of the source, out of the box
custom_hooks = [dict(type='smpconv_mm.ValidateFirstHook')]
