_base_ = [
    '../_base_/models/flex-tcn.py',
    '../_base_/datasets/scifar10.py',
    '../_base_/schedules/flex_plateau_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(in_channels=3, kernel_size=1024))
