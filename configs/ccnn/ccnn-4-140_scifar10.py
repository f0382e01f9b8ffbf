_base_ = [
    '../_base_/models/ccnn-sequence.py',
    '../_base_/datasets/scifar10-split.py',
    '../_base_/schedules/ccnn_adamw_210e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        in_channels=3,
        kernel_size=1024,
        kernel_cfg=dict(kernel_net=dict(omega_0=2386.49)),
    ),
)
auto_scale_lr = dict(base_batch_size=50)
