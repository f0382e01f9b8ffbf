# 30 % of the samples are missing; the fourth channel says which are there.
_base_ = ['./ckcnn-100k_1xb32_char-trajectories.py']

model = dict(
    backbone=dict(
        in_channels=4,
        dropout=0.2,
        kernel_cfg=dict(kernel_net=dict(omega_0=17.24)),
    ),
)
train_dataloader = dict(dataset=dict(drop_rate=30))
val_dataloader = dict(dataset=dict(drop_rate=30))
test_dataloader = dict(dataset=dict(drop_rate=30))
