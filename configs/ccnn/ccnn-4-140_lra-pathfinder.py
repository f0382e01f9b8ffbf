_base_ = [
    '../_base_/models/ccnn-sequence.py',
    '../_base_/datasets/lra-pathfinder.py',
    '../_base_/schedules/ccnn_adamw_210e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        kernel_size=1024,
        dropout=0.2,
        kernel_cfg=dict(mask_init=0.4, kernel_net=dict(omega_0=2272.557)),
    ),
    head=dict(_delete_=True, **_base_.binary_head),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=100)
