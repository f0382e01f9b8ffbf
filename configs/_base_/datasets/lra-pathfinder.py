# The same as sequences of 1024 pixels, row by row.
_base_ = './lra-pathfinder-2d.py'

pipeline = [*_base_.to_tensor, dict(type='smpconv_mm.ImageToSequence'), _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))
