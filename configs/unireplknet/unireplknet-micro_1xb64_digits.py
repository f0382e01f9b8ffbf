# Runs anywhere: real handwritten digits, minutes on two CPU cores.
_base_ = [
    '../_base_/datasets/digits_32.py',
    '../_base_/schedules/digits_adamw_40e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='smpconv_mm.UniRepLKNet',
        # the map is 8x8 in the first stage, 4x4 in the second
        arch=dict(channels=[32, 64], depths=[2, 2], kernel_sizes=[[13, 3], [7, 3]]),
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

default_hooks = dict(logger=dict(interval=10))
