# Runs anywhere: real handwritten digits, pixel by pixel, minutes on two CPU cores.
_base_ = [
    '../_base_/models/smp-tcn.py',
    '../_base_/datasets/digits_sequence.py',
    '../_base_/schedules/smp_adam_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        in_channels=1,
        kernel_size=64,
        channels=[30] * 4,
        radius=0.03,
        dropout=0.2,
        input_dropout=0.1,
    ),
)
optim_wrapper = dict(optimizer=dict(lr=5e-3))
max_epochs = 30
_base_.param_scheduler[0].end = 3
_base_.param_scheduler[1].update(begin=3, end=max_epochs)
train_cfg = dict(max_epochs=max_epochs)
default_hooks = dict(logger=dict(interval=10))
