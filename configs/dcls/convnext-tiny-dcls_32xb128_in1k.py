_base_ = [
    '../_base_/models/convnext-tiny-dcls.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/schedules/convnext_adamw_300e.py',
    '../_base_/schedules/dcls_rules.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=128)
optim_wrapper = dict(paramwise_cfg=_base_.dcls_rules)
