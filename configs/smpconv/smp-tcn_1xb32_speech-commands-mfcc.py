_base_ = [
    '../_base_/models/smp-tcn.py',
    '../_base_/datasets/speech-commands-mfcc.py',
    '../_base_/schedules/smp_adam_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        in_channels=20, kernel_size=161, radius=0.012, conv_bias=True, dropout=0.2
    )
)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
_base_.param_scheduler[1].end = 300
train_cfg = dict(max_epochs=300)
auto_scale_lr = dict(base_batch_size=32)
randomness = dict(seed=0)
