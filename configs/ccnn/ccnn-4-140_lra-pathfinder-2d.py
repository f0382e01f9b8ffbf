_base_ = [
    '../_base_/models/ccnn-image.py',
    '../_base_/datasets/lra-pathfinder-2d.py',
    '../_base_/schedules/ccnn_adamw_210e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        in_channels=1,
        dropout=0.1,
        kernel_cfg=dict(mask_init=0.225, kernel_net=dict(omega_0=1239.138351528754)),
    ),
    head=dict(_delete_=True, **_base_.binary_head),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=100)
