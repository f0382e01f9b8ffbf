_base_ = [
    '../_base_/models/smp-tcn.py',
    '../_base_/datasets/speech-commands-raw.py',
    '../_base_/schedules/smp_adam_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(in_channels=1, kernel_size=16000, radius=0.0002, dropout=0.1)
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
_base_.param_scheduler[0].end = 10
_base_.param_scheduler[1].update(begin=10, end=160)
train_cfg = dict(max_epochs=160)
auto_scale_lr = dict(base_batch_size=32)
randomness = dict(seed=0)
