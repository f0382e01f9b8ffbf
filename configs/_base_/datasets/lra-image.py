# The task "Image" of the Long Range Arena: CIFAR-10 in grey as sequences of 1024
# pixels.
_base_ = './lra-image-2d.py'

pipeline = [*_base_.to_grey, dict(type='smpconv_mm.ImageToSequence'), _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))
