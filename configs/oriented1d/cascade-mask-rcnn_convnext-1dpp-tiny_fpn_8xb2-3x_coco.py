_base_ = './cascade-mask-rcnn_convnext-1d-tiny_fpn_8xb2-3x_coco.py'

model = dict(
    backbone=dict(
        variant='1dpp',
        init_cfg=dict(checkpoint='checkpoints/convnext-1dpp-tiny_backbone.pth'),
    )
)
