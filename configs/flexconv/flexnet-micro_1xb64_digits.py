# Runs anywhere: real handwritten digits, minutes on two CPU cores.
_base_ = [
    '../_base_/models/flexnet-7.py',
    '../_base_/datasets/digits_16.py',
    '../_base_/schedules/flex_adam_350e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    # kernels as large as the image of 16x16, of which 3x3 are left at first
    backbone=dict(
        kernel_size=17,
        channels=[16, 24],
        stem_channels=16,
        dropout=0.1,
        kernel_cfg=dict(mask_init=0.1, kernel_net=dict(hidden_channels=16)),
    ),
    head=dict(in_channels=24),
)

max_epochs = 30
_base_.param_scheduler[0].end = 3
_base_.param_scheduler[1].update(begin=3, end=max_epochs)
train_cfg = dict(max_epochs=max_epochs)
default_hooks = dict(logger=dict(interval=10))
custom_hooks = [dict(type='smpconv_mm.KernelSizeHook', interval=5)]
