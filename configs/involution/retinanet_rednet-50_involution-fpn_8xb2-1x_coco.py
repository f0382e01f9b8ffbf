_base_ = './retinanet_rednet-50_fpn_8xb2-1x_coco.py'

model = dict(neck=dict(type='smpconv_mm.InvolutionFPN'))
optim_wrapper = dict(clip_grad=dict(max_norm=40, norm_type=2))
