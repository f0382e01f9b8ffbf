_base_ = [
    '../_base_/models/ccnn-sequence.py',
    '../_base_/datasets/lra-text.py',
    '../_base_/schedules/ccnn_adamw_210e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        kernel_size=4096,
        dropout=0.2,
        drop_channels=False,
        kernel_cfg=dict(mask_init=0.015, kernel_net=dict(omega_0=2966.6045345584143)),
    ),
    head=dict(_delete_=True, **_base_.binary_head),
    kernel_losses=[dict(type='smpconv_mm.ParameterNormLoss', loss_weight=1e-5)],
)
optim_wrapper = dict(
    optimizer=dict(lr=0.001), paramwise_cfg=dict(custom_keys=_base_.ccnn_rules)
)
_base_.param_scheduler[1].end = 60
train_cfg = dict(max_epochs=60)
auto_scale_lr = dict(base_batch_size=50)
