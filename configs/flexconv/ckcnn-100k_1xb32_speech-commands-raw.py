_base_ = [
    '../_base_/models/ckcnn.py',
    '../_base_/datasets/speech-commands-raw.py',
    '../_base_/schedules/flex_plateau_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        in_channels=1,
        kernel_size=16000,
        kernel_cfg=dict(kernel_net=dict(omega_0=39.45)),
    ),
    kernel_losses=[dict(type='smpconv_mm.KernelNormLoss', loss_weight=1e-4)],
)
train_cfg = dict(max_epochs=300)
auto_scale_lr = dict(base_batch_size=32)
