_base_ = './smpnet-tiny_upernet_4xb4-amp-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='base', init_cfg=dict(checkpoint='checkpoints/smpnet-base_in1k.pth')
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.9))
