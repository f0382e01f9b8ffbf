_base_ = [
    '../_base_/models/ccnn-sequence.py',
    '../_base_/datasets/lra-listops.py',
    '../_base_/schedules/ccnn_adamw_210e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        kernel_size=2048,
        dropout=0.1,
        drop_channels=False,
        kernel_cfg=dict(mask_init=0.03, kernel_net=dict(omega_0=784.655)),
    ),
    kernel_losses=[dict(type='smpconv_mm.ParameterNormLoss', loss_weight=1e-6)],
)
optim_wrapper = dict(
    optimizer=dict(lr=0.001), paramwise_cfg=dict(custom_keys=_base_.ccnn_rules)
)
_base_.param_scheduler[1].end = 60
train_cfg = dict(max_epochs=60)
auto_scale_lr = dict(base_batch_size=50)
