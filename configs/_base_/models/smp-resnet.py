# SMP-ResNet of the paper, for 32x32 images.
model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='smpconv_mm.SMPResNet',
        in_channels=3,
        kernel_size=33,
        channels=[24, 24, 36, 36, 36, 48, 48],
        stem_channels=24,
        n_points=16,
        radius=0.12,
        coord_std=0.05,
        small_kernel_size=3,
        dropout=0.1,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=48,
        init_cfg=dict(type='Kaiming', layer='Linear', mode='fan_in'),
        topk=(1,),
    ),
)
