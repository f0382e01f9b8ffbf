_base_ = [
    '../_base_/models/flexnet-7.py',
    '../_base_/datasets/mnist.py',
    '../_base_/schedules/flex_adam_350e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(in_channels=1, kernel_size=29))
