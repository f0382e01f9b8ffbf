_base_ = [
    '../_base_/models/ccnn-sequence.py',
    '../_base_/datasets/speech-commands-mfcc.py',
    '../_base_/schedules/ccnn_adamw_210e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        in_channels=20,
        kernel_size=161,
        dropout=0.2,
        kernel_cfg=dict(kernel_net=dict(omega_0=750.1822972936538)),
    ),
    kernel_losses=[dict(type='smpconv_mm.ParameterNormLoss', loss_weight=1e-6)],
)
train_dataloader = dict(batch_size=100)
_base_.param_scheduler[1].end = 110
train_cfg = dict(max_epochs=110)
auto_scale_lr = dict(base_batch_size=100)
