# The digits of scikit-learn enlarged to 16x16 only.
_base_ = './digits_32.py'

resize = dict(type='Resize', scale=16, interpolation='bicubic')
train_dataloader = dict(dataset=dict(pipeline=[resize, *_base_.train_pipeline[1:]]))
val_dataloader = dict(dataset=dict(pipeline=[resize, *_base_.test_pipeline[1:]]))
test_dataloader = val_dataloader
