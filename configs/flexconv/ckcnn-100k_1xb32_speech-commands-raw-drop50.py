# 50 % of the samples are missing; the second channel says which are there.
_base_ = ['./ckcnn-100k_1xb32_speech-commands-raw.py']

model = dict(
    backbone=dict(
        in_channels=2,
        kernel_cfg=dict(kernel_net=dict(omega_0=31.7)),
    ),
)
train_dataloader = dict(dataset=dict(drop_rate=50))
val_dataloader = dict(dataset=dict(drop_rate=50))
test_dataloader = dict(dataset=dict(drop_rate=50))
