# UniRepLKNet-T as a backbone for detection and segmentation: maps of all stages
# (README.md of configs/unireplknet tells how to make the file of weights).
unireplknet = dict(
    type='smpconv_mm.UniRepLKNet',
    arch='t',
    out_indices=(0, 1, 2, 3),
    gap_before_final_norm=False,
    norm_cfg=dict(type='SyncBN'),
    init_cfg=dict(
        type='Pretrained',
        checkpoint='checkpoints/unireplknet-t_backbone.pth',
        prefix='backbone.',
    ),
)
unireplknet_channels = [80, 160, 320, 640]
