# The CKCNN of CKConv with 100k parameters: two blocks of 30 channels, layer norms, and
# kernels made by SIRENs. Each task adds in_channels, kernel_size (the length of its
# sequences), omega_0, rates of dropout, and num_classes.
model = dict(
    type='smpconv_mm.KernelRegularizedClassifier',
    backbone=dict(
        type='smpconv_mm.FlexTCN',
        channels=[30] * 2,
        norm_cfg=dict(type='GN', num_groups=1, eps=1e-12),
        kernel_cfg=dict(
            type='CKKernel',
            kernel_net=dict(
                type='SIREN',
                hidden_channels=32,
                num_layers=3,
                weight_norm=True,
                bias_init='uniform',
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
    kernel_losses=[],
)
