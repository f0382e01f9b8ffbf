_base_ = './unireplknet-t_upernet_8xb2-160k_ade20k-512x512.py'

channels = [96, 192, 384, 768]
model = dict(
    backbone=dict(
        arch='s',
        drop_path_rate=0.3,
        with_cp=True,
        init_cfg=dict(checkpoint='checkpoints/unireplknet-s_backbone.pth'),
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
optim_wrapper = dict(
    constructor='smpconv_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
