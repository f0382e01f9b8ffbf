_base_ = ['./ccnn-4-140_lra-pathfinder-2d.py']

model = dict(
    backbone=dict(
        channels=[380] * 6,
        dropout=0.2,
        kernel_cfg=dict(kernel_net=dict(hidden_channels=64, omega_0=3908.323)),
    ),
    head=dict(in_channels=380),
)
train_dataloader = dict(batch_size=50)
auto_scale_lr = dict(base_batch_size=50)
