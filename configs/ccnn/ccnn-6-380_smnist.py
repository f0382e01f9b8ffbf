_base_ = ['./ccnn-4-140_smnist.py']

model = dict(
    backbone=dict(
        channels=[380] * 6, kernel_cfg=dict(kernel_net=dict(hidden_channels=64))
    ),
    head=dict(in_channels=380),
)
