# SMP-TCN of the paper: 6 blocks of 30 channels, 30 points a channel. Each task
# adds in_channels, kernel_size, radius, what else it varies, and num_classes.
model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='smpconv_mm.SMPTCN',
        channels=[30] * 6,
        n_points=30,
        coord_std=0.1,
        small_kernel_size=5,
    ),
    neck=dict(type='smpconv_mm.LastTimeStep'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=30, topk=(1,)),
)
