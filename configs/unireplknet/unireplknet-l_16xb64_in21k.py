_base_ = './unireplknet-s_16xb32_in21k.py'

model = dict(backbone=dict(arch='l'), head=dict(in_channels=1536))
pipeline = [
    dict(step, scale=192) if step['type'] == 'RandomResizedCrop' else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=pipeline))
# 16 GPUs x 64 images x 4 = 4096
optim_wrapper = dict(accumulative_counts=4, optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=1024)
