_base_ = './smpnet-tiny_4xb256_in1k.py'

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.5), head=dict(in_channels=1024)
)
train_dataloader = dict(batch_size=128)
# 4 GPUs x 128 images x 4 = 2048
optim_wrapper = dict(accumulative_counts=4)
custom_hooks = [
    dict(type='EMAHook', momentum=1e-4, update_buffers=True, interval=4),
]
auto_scale_lr = dict(base_batch_size=512)
