_base_ = './mask-rcnn_rednet-50_fpn_8xb2-1x_coco.py'

model = dict(neck=dict(type='smpconv_mm.InvolutionFPN'))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=2000),
    dict(type='MultiStepLR', by_epoch=True, end=12, milestones=[8, 11], gamma=0.1),
]
