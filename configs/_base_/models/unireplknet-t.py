# UniRepLKNet-T as a classifier of ImageNet-1k, regularised as in the paper.
model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='smpconv_mm.UniRepLKNet', arch='t', drop_path_rate=0.2),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=640,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        topk=(1, 5),
    ),
    # one of the two for each batch, with equal probability
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
    ),
)
