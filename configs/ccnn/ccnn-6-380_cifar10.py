_base_ = ['./ccnn-4-140_cifar10.py']

model = dict(
    backbone=dict(
        channels=[380] * 6,
        dropout=0.15,
        kernel_cfg=dict(
            mask_init=0.075, kernel_net=dict(hidden_channels=64, omega_0=976.781)
        ),
    ),
    head=dict(in_channels=380),
    kernel_losses=[],
)
train_dataloader = dict(batch_size=50)
optim_wrapper = dict(optimizer=dict(lr=0.01))
_base_.param_scheduler[0].end = 10
_base_.param_scheduler[1].update(begin=10, end=210)
train_cfg = dict(max_epochs=210)
auto_scale_lr = dict(base_batch_size=50)
