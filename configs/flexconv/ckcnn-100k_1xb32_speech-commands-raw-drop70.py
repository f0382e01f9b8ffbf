# 70 % of the samples are missing; the second channel says which are there.
_base_ = ['./ckcnn-100k_1xb32_speech-commands-raw.py']

model = dict(
    backbone=dict(
        in_channels=2,
        dropout=0.1,
        input_dropout=0.1,
        kernel_cfg=dict(kernel_net=dict(omega_0=23.29), dropout=0.1),
    ),
    kernel_losses=[],
)
train_dataloader = dict(dataset=dict(drop_rate=70))
val_dataloader = dict(dataset=dict(drop_rate=70))
test_dataloader = dict(dataset=dict(drop_rate=70))
