_base_ = ['./ccnn-4-140_cifar100.py']

model = dict(
    backbone=dict(
        kernel_size=31,
        channels=[380] * 6,
        dropout=0.2,
        kernel_cfg=dict(kernel_net=dict(hidden_channels=64, omega_0=679.142)),
    ),
    head=dict(in_channels=380),
    kernel_losses=[],
)
