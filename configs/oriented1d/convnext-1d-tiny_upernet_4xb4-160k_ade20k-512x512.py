# The published recipe: 160,000 iterations of AdamW at 1e-4, 0.9 a stage.
_base_ = [
    'mmseg::_base_/models/upernet_r50.py',
    'mmseg::_base_/datasets/ade20k.py',
    '../_base_/models/convnext-1d-tiny_pyramid.py',
    '../_base_/schedules/seg_adamw_160k.py',
    '../_base_/mmseg_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(_base_.convnext_1d, _delete_=True),
    decode_head=dict(in_channels=_base_.convnext_channels, num_classes=150),
    auxiliary_head=dict(in_channels=_base_.convnext_channels[2], num_classes=150),
)
# mmseg's constructor: one rate for all layers of a stage
optim_wrapper = dict(
    constructor='LearningRateDecayOptimizerConstructor',
    paramwise_cfg=dict(decay_rate=0.9, decay_type='stage_wise', num_layers=6),
)
