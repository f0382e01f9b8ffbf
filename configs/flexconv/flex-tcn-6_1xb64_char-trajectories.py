_base_ = [
    '../_base_/models/flex-tcn.py',
    '../_base_/datasets/char-trajectories.py',
    '../_base_/schedules/flex_plateau_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(in_channels=3, kernel_size=182), head=dict(num_classes=20))
