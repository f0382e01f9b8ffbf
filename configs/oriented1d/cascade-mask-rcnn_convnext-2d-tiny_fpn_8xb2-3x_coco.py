_base_ = './cascade-mask-rcnn_convnext-1d-tiny_fpn_8xb2-3x_coco.py'

model = dict(
    backbone=dict(
        variant='2d',
        init_cfg=dict(checkpoint='checkpoints/convnext-2d-tiny_backbone.pth'),
    )
)
