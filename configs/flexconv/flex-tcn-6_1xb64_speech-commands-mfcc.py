_base_ = [
    '../_base_/models/flex-tcn.py',
    '../_base_/datasets/speech-commands-mfcc.py',
    '../_base_/schedules/flex_plateau_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(in_channels=20, kernel_size=161))
train_dataloader = dict(batch_size=64)
