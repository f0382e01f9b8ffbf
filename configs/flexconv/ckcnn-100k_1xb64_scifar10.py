_base_ = [
    '../_base_/models/ckcnn.py',
    '../_base_/datasets/scifar10.py',
    '../_base_/schedules/flex_plateau_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        in_channels=3,
        kernel_size=1024,
        dropout=0.2,
        kernel_cfg=dict(kernel_net=dict(omega_0=25.696)),
    ),
)
