_base_ = [
    '../_base_/models/ccnn-sequence.py',
    '../_base_/datasets/speech-commands-raw.py',
    '../_base_/schedules/ccnn_adamw_210e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        kernel_size=16000,
        dropout=0.2,
        kernel_cfg=dict(kernel_net=dict(omega_0=1295.612417154228)),
    ),
    kernel_losses=[dict(type='smpconv_mm.ParameterNormLoss', loss_weight=1e-6)],
)
train_dataloader = dict(batch_size=20)
_base_.param_scheduler[1].end = 160
train_cfg = dict(max_epochs=160)
auto_scale_lr = dict(base_batch_size=20)
