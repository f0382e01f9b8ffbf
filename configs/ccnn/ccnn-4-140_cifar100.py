_base_ = [
    '../_base_/models/ccnn-image.py',
    '../_base_/datasets/cifar100-split.py',
    '../_base_/schedules/ccnn_adamw_210e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        dropout=0.1, kernel_cfg=dict(kernel_net=dict(omega_0=3521.5468260391735))
    ),
    head=dict(num_classes=100),
    kernel_losses=[dict(type='smpconv_mm.ParameterNormLoss', loss_weight=1e-4)],
)
auto_scale_lr = dict(base_batch_size=50)
