_base_ = [
    '../_base_/models/smp-tcn.py',
    '../_base_/datasets/scifar10.py',
    '../_base_/schedules/smp_adam_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(in_channels=3, kernel_size=1024, radius=0.002, conv_bias=True)
)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
randomness = dict(seed=0)
