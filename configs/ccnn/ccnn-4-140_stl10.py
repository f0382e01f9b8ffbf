_base_ = [
    '../_base_/models/ccnn-image.py',
    '../_base_/datasets/stl10-256.py',
    '../_base_/schedules/ccnn_adamw_210e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        dropout=0.1,
        drop_channels=False,
        kernel_cfg=dict(kernel_net=dict(omega_0=954.281)),
    ),
)
optim_wrapper = dict(accumulative_counts=4)
auto_scale_lr = dict(base_batch_size=64)
