_base_ = [
    '../_base_/models/flexnet-7.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/flex_adam_350e.py',
    '../_base_/default_runtime.py',
]
