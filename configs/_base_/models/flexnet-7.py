# FlexNet-7 of the paper, for 32x32 images.
model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='smpconv_mm.FlexNet',
        in_channels=3,
        kernel_size=33,
        channels=[24, 24, 36, 36, 36, 48, 48],
        stem_channels=24,
        dropout=0.2,
        kernel_cfg=dict(
            type='FlexKernel',
            mask_init=0.075,
            crop_threshold=0.1,
            kernel_net=dict(
                type='MAGNet', hidden_channels=32, num_layers=3, input_scale=25.6
            ),
        ),
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
