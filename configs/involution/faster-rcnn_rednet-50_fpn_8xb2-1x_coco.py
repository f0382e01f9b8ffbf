_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/models/rednet-50_pyramid.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/mmdet_runtime.py',
]

model = dict(backbone=dict(_base_.rednet, _delete_=True))
custom_hooks = [dict(type='smpconv_mm.OverflowHook')]
