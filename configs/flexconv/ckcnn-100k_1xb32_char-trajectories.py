_base_ = [
    '../_base_/models/ckcnn.py',
    '../_base_/datasets/char-trajectories.py',
    '../_base_/schedules/flex_plateau_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        in_channels=3,
        kernel_size=182,
        dropout=0.1,
        kernel_cfg=dict(kernel_net=dict(omega_0=21.45)),
    ),
    head=dict(num_classes=20),
)
train_dataloader = dict(batch_size=32)
auto_scale_lr = dict(base_batch_size=32)
