_base_ = [
    '../_base_/models/ckcnn.py',
    '../_base_/datasets/speech-commands-mfcc.py',
    '../_base_/schedules/flex_plateau_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        in_channels=20,
        kernel_size=161,
        dropout=0.2,
        kernel_cfg=dict(kernel_net=dict(omega_0=30.9)),
    ),
)
train_dataloader = dict(batch_size=64)
_base_.param_scheduler[0].patience = 15
