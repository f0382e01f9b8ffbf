# SMPNet-T as a backbone for detection and segmentation: maps of all stages,
# weights of a classifier (README.md of configs/detection tells how to make the file).
smpnet = dict(
    type='smpconv_mm.SMPNet',
    arch='tiny',
    drop_path_rate=0.2,
    out_indices=(0, 1, 2, 3),
    norm_cfg=dict(type='SyncBN'),
    init_cfg=dict(
        type='Pretrained',
        checkpoint='checkpoints/smpnet-tiny_in1k.pth',
        prefix='backbone.',
    ),
)
smpnet_channels = [96, 192, 384, 768]
