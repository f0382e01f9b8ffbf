_base_ = [
    '../_base_/models/smp-tcn.py',
    '../_base_/datasets/char-trajectories.py',
    '../_base_/schedules/smp_adam_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(in_channels=3, kernel_size=182, radius=0.012, conv_bias=True),
    head=dict(num_classes=20),
)
_base_.param_scheduler[1].end = 300
train_cfg = dict(max_epochs=300)
randomness = dict(seed=0)
