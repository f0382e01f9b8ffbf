_base_ = './mask-rcnn_rednet-50_involution-fpn_8xb2-1x_coco.py'

model = dict(
    backbone=dict(
        type='smpconv_mm.CedNet',
        init_cfg=dict(checkpoint='checkpoints/cednet-50_in1k.pth'),
    ),
    neck=dict(involution_cfg=dict(type='smpconv_mm.CVolution2d')),
)
