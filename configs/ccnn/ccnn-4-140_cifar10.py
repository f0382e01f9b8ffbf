_base_ = [
    '../_base_/models/ccnn-image.py',
    '../_base_/datasets/cifar10-split.py',
    '../_base_/schedules/ccnn_adamw_210e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        dropout=0.1,
        kernel_cfg=dict(mask_init=0.75, kernel_net=dict(omega_0=4231.568793085858)),
    ),
    kernel_losses=[dict(type='smpconv_mm.ParameterNormLoss', loss_weight=1e-4)],
)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=_base_.ccnn_rules))
_base_.param_scheduler[0].end = 5
_base_.param_scheduler[1].update(begin=5, end=350)
train_cfg = dict(max_epochs=350)
auto_scale_lr = dict(base_batch_size=64)
