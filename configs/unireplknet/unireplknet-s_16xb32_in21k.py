# Training on ImageNet-21k, which has no validation images.
_base_ = './unireplknet-s_4xb128_in1k.py'

model = dict(backbone=dict(drop_path_rate=0.1), head=dict(num_classes=21841))
data_preprocessor = dict(num_classes=21841)
# 16 GPUs x 32 images x 8 = 4096
train_dataloader = dict(
    batch_size=32, dataset=dict(type='ImageNet21k', data_root='data/imagenet21k')
)
val_dataloader = val_evaluator = val_cfg = None
test_dataloader = test_evaluator = test_cfg = None
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        by_epoch=True,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=5,
        end=90,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=90)
default_hooks = dict(checkpoint=dict(save_best=None))
