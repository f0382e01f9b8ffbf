# CCNN-4,140 of the paper for images. Each task adds omega_0, rates of dropout, and what
# else is its own.
init_head = dict(type='Kaiming', layer='Linear', mode='fan_in')
# for tasks of two classes, which have one score
binary_head = dict(type='smpconv_mm.BinaryClsHead', in_channels=140, init_cfg=init_head)
model = dict(
    type='smpconv_mm.KernelRegularizedClassifier',
    backbone=dict(
        type='smpconv_mm.CCNN',
        in_channels=3,
        kernel_size=33,
        channels=[140] * 4,
        kernel_cfg=dict(
            type='CCNNKernel',
            mask_init=0.075,
            crop_threshold=0.1,
            kernel_net=dict(type='CCNNMAGNet', hidden_channels=32, num_layers=3),
        ),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=140,
        init_cfg=init_head,
        topk=(1,),
    ),
    kernel_losses=[],
)
