_base_ = './convnext-1d-tiny_upernet_4xb4-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        variant='1dpp',
        init_cfg=dict(checkpoint='checkpoints/convnext-1dpp-tiny_backbone.pth'),
    )
)
