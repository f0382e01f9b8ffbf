_base_ = [
    '../_base_/models/ccnn-sequence.py',
    '../_base_/datasets/pmnist-split.py',
    '../_base_/schedules/ccnn_adamw_210e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        input_dropout=0.2,
        kernel_cfg=dict(kernel_net=dict(omega_0=2985.6332826938724)),
    ),
)
auto_scale_lr = dict(base_batch_size=100)
