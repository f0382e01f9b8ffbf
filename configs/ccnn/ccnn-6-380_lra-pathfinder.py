_base_ = ['./ccnn-4-140_lra-pathfinder.py']

model = dict(
    backbone=dict(
        channels=[380] * 6,
        dropout=0.1,
        kernel_cfg=dict(kernel_net=dict(hidden_channels=64)),
    ),
    head=dict(in_channels=380),
    kernel_losses=[dict(type='smpconv_mm.ParameterNormLoss', loss_weight=1e-6)],
)
