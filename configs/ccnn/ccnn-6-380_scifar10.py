_base_ = ['./ccnn-4-140_scifar10.py']

model = dict(
    backbone=dict(
        channels=[380] * 6,
        dropout=0.25,
        kernel_cfg=dict(kernel_net=dict(hidden_channels=64, omega_0=4005.146)),
    ),
    head=dict(in_channels=380),
)
# not augmented
train_dataloader = dict(dataset=dict(pipeline=_base_.to_sequence))
optim_wrapper = dict(optimizer=dict(lr=0.01))
