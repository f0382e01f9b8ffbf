# ConvNeXt-1D-T as a backbone for detection and segmentation: maps of all stages, and
# no taps that 224 pixels do not reach (README.md of configs/oriented1d tells how to
# make the file of weights).
convnext_1d = dict(
    type='smpconv_mm.OrientedConvNeXt',
    arch='tiny',
    variant='1d',
    trained_sides=(56, 28, 14, 7),
    drop_path_rate=0.4,
    layer_scale_init_value=1.0,
    out_indices=(0, 1, 2, 3),
    gap_before_final_norm=False,
    init_cfg=dict(
        type='Pretrained',
        checkpoint='checkpoints/convnext-1d-tiny_backbone.pth',
        prefix='backbone.',
    ),
)
convnext_channels = [96, 192, 384, 768]
