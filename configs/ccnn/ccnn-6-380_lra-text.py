_base_ = ['./ccnn-4-140_lra-text.py']

model = dict(
    backbone=dict(
        channels=[380] * 6,
        dropout=0.3,
        kernel_cfg=dict(mask_init=0.03, kernel_net=dict(hidden_channels=64)),
    ),
    head=dict(in_channels=380),
    kernel_losses=[],
)
# on each of several GPUs; how many is not published
train_dataloader = dict(batch_size=25)
optim_wrapper = dict(optimizer=dict(lr=0.02), paramwise_cfg=dict(_delete_=True))
auto_scale_lr = dict(base_batch_size=25)
