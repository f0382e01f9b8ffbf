_base_ = ['./ckcnn-100k_1xb64_smnist.py']

model = dict(
    backbone=dict(
        channels=[100] * 2,
        dropout=0.2,
        input_dropout=0.2,
        kernel_cfg=dict(kernel_net=dict(omega_0=30.5)),
    ),
    head=dict(in_channels=100),
)
