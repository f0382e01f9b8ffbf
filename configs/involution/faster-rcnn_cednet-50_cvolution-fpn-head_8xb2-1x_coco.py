_base_ = './faster-rcnn_cednet-50_cvolution-fpn_8xb2-1x_coco.py'

model = dict(rpn_head=dict(type='smpconv_mm.InvolutionRPNHead'))
optim_wrapper = dict(clip_grad=dict(max_norm=5, norm_type=2))
