# FlexTCN of the paper: blocks of 30 channels. Each task adds in_channels, kernel_size
# (the length of its sequences), the number of blocks, and num_classes.
model = dict(
    type='smpconv_mm.KernelRegularizedClassifier',
    backbone=dict(
        type='smpconv_mm.FlexTCN',
        channels=[30] * 6,
        dropout=0.1,
        kernel_cfg=dict(
            type='FlexKernel',
            mask_init=0.075,
            crop_threshold=0.1,
            kernel_net=dict(
                type='MAGNet', hidden_channels=32, num_layers=3, input_scale=25.6
            ),
        ),
    ),
    neck=dict(type='smpconv_mm.LastTimeStep'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=30,
        init_cfg=dict(type='Normal', layer='Linear', std=0.01),
        topk=(1,),
    ),
    kernel_losses=[dict(type='smpconv_mm.KernelNormLoss', loss_weight=1e-4)],
)
