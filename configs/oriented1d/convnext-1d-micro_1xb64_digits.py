# Runs anywhere: real handwritten digits, minutes on two CPU cores.
_base_ = [
    '../_base_/datasets/digits_32.py',
    '../_base_/schedules/adamw.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='smpconv_mm.OrientedConvNeXt',
        variant='1d',
        # the map is 8x8 in the first stage, 4x4 in the second
        arch=dict(channels=[32, 64], depths=[2, 2]),
        trained_sides=(8, 4),
        stem_channels=16,
        drop_path_rate=0.1,
        layer_scale_init_value=1.0,
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=64,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        topk=(1,),
    ),
)

max_epochs = 40
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=True,
        begin=5,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(logger=dict(interval=10))
auto_scale_lr = dict(base_batch_size=64)
