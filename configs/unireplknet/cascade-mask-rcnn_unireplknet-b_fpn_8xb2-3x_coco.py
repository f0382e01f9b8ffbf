_base_ = './cascade-mask-rcnn_unireplknet-t_fpn_8xb2-3x_coco.py'

model = dict(
    backbone=dict(
        arch='b',
        drop_path_rate=0.6,
        init_cfg=dict(checkpoint='checkpoints/unireplknet-b_backbone.pth'),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=1e-4, update_buffers=True),
]
