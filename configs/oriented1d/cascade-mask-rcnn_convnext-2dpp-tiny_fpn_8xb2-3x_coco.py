_base_ = './cascade-mask-rcnn_convnext-1d-tiny_fpn_8xb2-3x_coco.py'

model = dict(
    backbone=dict(
        variant='2dpp',
        init_cfg=dict(checkpoint='checkpoints/convnext-2dpp-tiny_backbone.pth'),
    )
)
