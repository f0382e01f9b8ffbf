_base_ = './unireplknet-s_4xb64_in1k-384px.py'

model = dict(
    backbone=dict(
        arch='b', init_cfg=dict(checkpoint='checkpoints/unireplknet-b_in21k.pth')
    ),
    head=dict(in_channels=1024),
)
