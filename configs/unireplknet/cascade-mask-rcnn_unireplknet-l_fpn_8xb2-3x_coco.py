_base_ = './cascade-mask-rcnn_unireplknet-b_fpn_8xb2-3x_coco.py'

model = dict(
    backbone=dict(
        arch='l',
        drop_path_rate=0.7,
        init_cfg=dict(checkpoint='checkpoints/unireplknet-l_backbone.pth'),
    ),
    neck=dict(in_channels=[192, 384, 768, 1536]),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.7))
