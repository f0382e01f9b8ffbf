_base_ = [
    '../_base_/models/flex-tcn.py',
    '../_base_/datasets/scifar10-noise-padded.py',
    '../_base_/schedules/flex_plateau_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(in_channels=96, kernel_size=1000))
