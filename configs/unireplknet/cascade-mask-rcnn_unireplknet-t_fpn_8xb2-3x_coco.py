# The published recipe: heads, images and epochs are those of ConvNeXt.
_base_ = [
    '../oriented1d/cascade-mask-rcnn_convnext-1d-tiny_fpn_8xb2-3x_coco.py',
    '../_base_/models/unireplknet-t_pyramid.py',
]

model = dict(
    backbone=dict(_base_.unireplknet, _delete_=True, drop_path_rate=0.3, with_cp=True),
    neck=dict(in_channels=_base_.unireplknet_channels),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(layer_decay_rate=0.8))
