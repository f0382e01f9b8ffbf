# The baseline of FlexNet on STL-10.
_base_ = [
    '../_base_/datasets/stl10_cutout.py',
    '../_base_/schedules/flex_adam_350e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='ResNet', depth=18, out_indices=(3,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=512, topk=(1,)),
)
auto_scale_lr = dict(base_batch_size=256)
