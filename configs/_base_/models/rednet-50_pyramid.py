# RedNet-50 as a backbone for detection and segmentation: maps of all stages, and a stem
# with 7 x 7 kernels (README.md of configs/involution tells how to make the file of
# weights).
rednet = dict(
    type='smpconv_mm.RedNet',
    depth=50,
    stem_kernel_size=7,
    out_indices=(0, 1, 2, 3),
    frozen_stages=1,
    norm_cfg=dict(type='BN', requires_grad=True),
    norm_eval=True,
    init_cfg=dict(
        type='Pretrained',
        checkpoint='checkpoints/rednet-50-stem7_in1k.pth',
        prefix='backbone.',
    ),
)
