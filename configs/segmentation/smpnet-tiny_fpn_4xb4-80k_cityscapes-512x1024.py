_base_ = [
    'mmseg::_base_/models/fpn_r50.py',
    'mmseg::_base_/datasets/cityscapes.py',
    '../_base_/models/smpnet-tiny_pyramid.py',
    '../_base_/schedules/seg_adamw_160k.py',
    '../_base_/schedules/smp_rules.py',
    '../_base_/mmseg_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 1024)),
    pretrained=None,
    backbone=dict(_base_.smpnet, _delete_=True),
    neck=dict(in_channels=_base_.smpnet_channels),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=_base_.smp_rules))
train_dataloader = dict(batch_size=4, num_workers=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, end=1500),
    dict(type='PolyLR', power=0.9, by_epoch=False, begin=1500, end=80000),
]
train_cfg = dict(max_iters=80000, val_interval=8000)
default_hooks = dict(checkpoint=dict(interval=8000))
