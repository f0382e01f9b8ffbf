_base_ = [
    'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../_base_/models/smpnet-tiny_pyramid.py',
    '../_base_/schedules/coco_adamw_1x.py',
    '../_base_/schedules/smp_rules.py',
    '../_base_/mmdet_runtime.py',
]

model = dict(
    backbone=dict(_base_.smpnet, _delete_=True, drop_path_rate=0.4),
    neck=dict(in_channels=_base_.smpnet_channels),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='RandomChoiceResize',
        scales=[(1333, side) for side in range(480, 801, 32)],
        keep_ratio=True,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    constructor='smpconv_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.95, custom_keys=_base_.smp_rules),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=1000),
    dict(type='MultiStepLR', by_epoch=True, end=36, milestones=[27, 33], gamma=0.1),
]
train_cfg = dict(max_epochs=36)
