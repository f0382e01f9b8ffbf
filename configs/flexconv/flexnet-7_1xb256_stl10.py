_base_ = [
    '../_base_/models/flexnet-7.py',
    '../_base_/datasets/stl10.py',
    '../_base_/schedules/flex_adam_350e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(kernel_size=97))
_base_.param_scheduler[1].end = 100
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=256)
