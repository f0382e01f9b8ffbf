_base_ = [
    'mmseg::_base_/models/upernet_r50.py',
    'mmseg::_base_/datasets/cityscapes.py',
    '../_base_/models/rednet-50_pyramid.py',
    '../_base_/schedules/seg_sgd_80k.py',
    '../_base_/mmseg_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 1024)),
    pretrained=None,
    backbone=dict(
        _base_.rednet,
        _delete_=True,
        frozen_stages=-1,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        norm_eval=False,
    ),
)
default_hooks = dict(checkpoint=dict(interval=8000))
custom_hooks = [dict(type='smpconv_mm.OverflowHook')]
