_base_ = ['./ccnn-4-140_stl10.py']

model = dict(
    backbone=dict(
        kernel_size=31,
        channels=[380] * 6,
        kernel_cfg=dict(kernel_net=dict(hidden_channels=64)),
    ),
    head=dict(in_channels=380),
)
train_dataloader = dict(batch_size=48)
optim_wrapper = dict(optimizer=dict(lr=0.01), accumulative_counts=2)
auto_scale_lr = dict(base_batch_size=48)
