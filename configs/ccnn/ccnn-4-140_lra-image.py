_base_ = [
    '../_base_/models/ccnn-sequence.py',
    '../_base_/datasets/lra-image.py',
    '../_base_/schedules/ccnn_adamw_210e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        kernel_size=1024,
        dropout=0.1,
        kernel_cfg=dict(kernel_net=dict(omega_0=4005.146)),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=50)
