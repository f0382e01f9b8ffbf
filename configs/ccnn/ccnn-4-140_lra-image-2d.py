_base_ = [
    '../_base_/models/ccnn-image.py',
    '../_base_/datasets/lra-image-2d.py',
    '../_base_/schedules/ccnn_adamw_210e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        in_channels=1,
        dropout=0.2,
        kernel_cfg=dict(kernel_net=dict(omega_0=2085.433586112234)),
    ),
    kernel_losses=[dict(type='smpconv_mm.ParameterNormLoss', loss_weight=1e-6)],
)
auto_scale_lr = dict(base_batch_size=50)
