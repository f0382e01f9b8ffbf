_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../_base_/models/smpnet-tiny_pyramid.py',
    '../_base_/schedules/coco_adamw_1x.py',
    '../_base_/schedules/smp_rules.py',
    '../_base_/mmdet_runtime.py',
]

model = dict(
    backbone=dict(_base_.smpnet, _delete_=True),
    neck=dict(in_channels=_base_.smpnet_channels),
)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    paramwise_cfg=dict(custom_keys=_base_.smp_rules),
)
