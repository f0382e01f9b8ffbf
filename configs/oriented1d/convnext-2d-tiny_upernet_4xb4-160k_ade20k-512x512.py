_base_ = './convnext-1d-tiny_upernet_4xb4-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        variant='2d',
        init_cfg=dict(checkpoint='checkpoints/convnext-2d-tiny_backbone.pth'),
    )
)
