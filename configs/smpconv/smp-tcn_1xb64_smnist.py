_base_ = [
    '../_base_/models/smp-tcn.py',
    '../_base_/datasets/smnist.py',
    '../_base_/schedules/smp_adam_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(in_channels=1, kernel_size=784, radius=0.002, input_dropout=0.1)
)
randomness = dict(seed=0)
