_base_ = [
    '../_base_/models/unireplknet-t.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/schedules/convnext_adamw_300e.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=128)
# 4 GPUs x 128 images x 8 = 4096
optim_wrapper = dict(accumulative_counts=8)
custom_hooks = []  # no averaged weights
auto_scale_lr = dict(base_batch_size=512)
