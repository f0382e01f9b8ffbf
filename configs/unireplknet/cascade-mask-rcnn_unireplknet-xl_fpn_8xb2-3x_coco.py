_base_ = './cascade-mask-rcnn_unireplknet-l_fpn_8xb2-3x_coco.py'

model = dict(
    backbone=dict(
        arch='xl',
        drop_path_rate=0.7,
        init_cfg=dict(checkpoint='checkpoints/unireplknet-xl_backbone.pth'),
    ),
    neck=dict(in_channels=[256, 512, 1024, 2048]),
)
