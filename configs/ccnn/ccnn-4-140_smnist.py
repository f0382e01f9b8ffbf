_base_ = [
    '../_base_/models/ccnn-sequence.py',
    '../_base_/datasets/smnist-split.py',
    '../_base_/schedules/ccnn_adamw_210e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        dropout=0.1, kernel_cfg=dict(kernel_net=dict(omega_0=2976.4910261630357))
    ),
    kernel_losses=[dict(type='smpconv_mm.ParameterNormLoss', loss_weight=1e-6)],
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=100)
