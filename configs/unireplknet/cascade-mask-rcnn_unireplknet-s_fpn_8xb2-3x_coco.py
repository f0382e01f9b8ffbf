_base_ = './cascade-mask-rcnn_unireplknet-t_fpn_8xb2-3x_coco.py'

model = dict(
    backbone=dict(
        arch='s',
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint='checkpoints/unireplknet-s_backbone.pth'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
