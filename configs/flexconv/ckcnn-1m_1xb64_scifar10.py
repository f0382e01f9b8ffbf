_base_ = ['./ckcnn-100k_1xb64_scifar10.py']

model = dict(
    backbone=dict(
        channels=[100] * 2,
        dropout=0.3,
        kernel_cfg=dict(kernel_net=dict(omega_0=25.696), dropout=0.1),
    ),
    head=dict(in_channels=100),
    kernel_losses=[dict(type='smpconv_mm.KernelNormLoss', loss_weight=1e-4)],
)
