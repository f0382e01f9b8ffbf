_base_ = './cascade-mask-rcnn_convnext-2dpp-tiny_fpn_8xb2-3x_coco.py'

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.7,
        init_cfg=dict(checkpoint='checkpoints/convnext-2dpp-base_backbone.pth'),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
