_base_ = ['./ccnn-4-140_speech-commands-mfcc.py']

model = dict(
    backbone=dict(
        channels=[380] * 6,
        kernel_cfg=dict(kernel_net=dict(hidden_channels=64, omega_0=1295.61)),
    ),
    head=dict(in_channels=380),
)
# on each of several GPUs; how many is not published
train_dataloader = dict(batch_size=10)
_base_.param_scheduler[1].end = 160
train_cfg = dict(max_epochs=160)
auto_scale_lr = dict(base_batch_size=10)
