_base_ = ['./ccnn-4-140_speech-commands-raw.py']

model = dict(
    backbone=dict(
        channels=[380] * 6, kernel_cfg=dict(kernel_net=dict(hidden_channels=64))
    ),
    head=dict(in_channels=380),
)
train_dataloader = dict(batch_size=40)
auto_scale_lr = dict(base_batch_size=40)
