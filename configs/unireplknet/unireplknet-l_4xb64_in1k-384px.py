_base_ = './unireplknet-s_4xb64_in1k-384px.py'

model = dict(
    backbone=dict(
        arch='l',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint='checkpoints/unireplknet-l_in21k.pth'),
    ),
    head=dict(in_channels=1536, loss=dict(label_smooth_val=0.3)),
)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        end=20,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=20)
# one update an optimiser step
custom_hooks = [
    dict(type='EMAHook', momentum=1e-4, update_buffers=True, interval=2),
]
