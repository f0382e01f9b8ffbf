_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/models/smpnet-tiny_pyramid.py',
    '../_base_/schedules/coco_adamw_1x.py',
    '../_base_/schedules/smp_rules.py',
    '../_base_/mmdet_runtime.py',
]

# maps of stride 8 and more; one that goes unused would stop distributed training
model = dict(
    backbone=dict(_base_.smpnet, _delete_=True, out_indices=(1, 2, 3)),
    neck=dict(in_channels=_base_.smpnet_channels[1:], start_level=0),
)

optim_wrapper = dict(paramwise_cfg=dict(custom_keys=_base_.smp_rules))

# three scales and their mirror images; mmdet merges boxes, not masks
tta_model = dict(
    type='DetTTAModel',
    tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
)
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(1333, side), keep_ratio=True)
                for side in (640, 800, 960)
            ],
            [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)],
            [
                dict(
                    type='PackDetInputs',
                    meta_keys=(
                        'img_id',
                        'img_path',
                        'ori_shape',
                        'img_shape',
                        'scale_factor',
                        'flip',
                        'flip_direction',
                    ),
                )
            ],
        ],
    ),
]
