_base_ = [
    '../_base_/models/ckcnn.py',
    '../_base_/datasets/smnist.py',
    '../_base_/schedules/flex_plateau_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        in_channels=1,
        kernel_size=784,
        dropout=0.1,
        input_dropout=0.1,
        kernel_cfg=dict(kernel_net=dict(omega_0=31.09)),
    ),
)
