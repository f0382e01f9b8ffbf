# RedNet-50 of the paper.
model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='smpconv_mm.RedNet', depth=50, out_indices=(3,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=2048,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        topk=(1, 5),
    ),
)
