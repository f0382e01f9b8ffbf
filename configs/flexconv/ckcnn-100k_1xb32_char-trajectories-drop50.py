# 50 % of the samples are missing; the fourth channel says which are there.
_base_ = ['./ckcnn-100k_1xb32_char-trajectories.py']

model = dict(
    backbone=dict(
        in_channels=4,
        dropout=0.0,
        kernel_cfg=dict(kernel_net=dict(omega_0=12.0)),
    ),
    kernel_losses=[dict(type='smpconv_mm.KernelNormLoss', loss_weight=1e-4)],
)
train_dataloader = dict(dataset=dict(drop_rate=50))
val_dataloader = dict(dataset=dict(drop_rate=50))
test_dataloader = dict(dataset=dict(drop_rate=50))
