_base_ = './unireplknet-l_4xb64_in1k-384px.py'

model = dict(
    backbone=dict(
        arch='xl', init_cfg=dict(checkpoint='checkpoints/unireplknet-xl_in21k.pth')
    ),
    head=dict(in_channels=2048),
)
train_dataloader = dict(batch_size=32)
