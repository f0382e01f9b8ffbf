_base_ = './unireplknet-b_upernet_8xb2-160k_ade20k-640x640.py'

channels = [192, 384, 768, 1536]
model = dict(
    backbone=dict(
        arch='l',
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint='checkpoints/unireplknet-l_backbone.pth'),
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.85))
