_base_ = [
    '../_base_/models/flex-tcn.py',
    '../_base_/datasets/adding-problem.py',
    '../_base_/schedules/flex_plateau_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(in_channels=2, kernel_size=1000, channels=[30] * 2),
    head=dict(_delete_=True, type='smpconv_mm.RegressionHead', in_channels=30),
)
_base_.param_scheduler[0].update(monitor='mse', rule='less')
default_hooks = dict(checkpoint=dict(save_best='mse', rule='less'))
