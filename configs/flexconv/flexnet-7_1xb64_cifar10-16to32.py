# The second half of the training across resolutions: images of 32x32. Kernels of the
# checkpoint were trained at 17x17; they are sampled at 33x33, and scaled. For other
# ratios change kernel_size here and there (the side of images, plus 1), the sizes of
# Resize, and load_from.
_base_ = ['./flexnet-7_1xb64_cifar10-16.py']

model = dict(backbone=dict(kernel_size=33))
train_dataloader = dict(dataset=dict(pipeline=[*_base_.augment, _base_.pack]))
val_dataloader = dict(dataset=dict(pipeline=[_base_.pack]))
test_dataloader = val_dataloader
load_from = 'work_dirs/flexnet-7_1xb64_cifar10-16/epoch_100.pth'
# accuracy before the training: that of the source, out of the box
custom_hooks = [dict(type='smpconv_mm.ValidateFirstHook')]
