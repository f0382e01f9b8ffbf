_base_ = './mask-rcnn_rednet-50_involution-fpn_8xb2-1x_coco.py'

model = dict(
    rpn_head=dict(type='smpconv_mm.InvolutionRPNHead'),
    roi_head=dict(mask_head=dict(type='smpconv_mm.InvolutionMaskHead')),
)
optim_wrapper = dict(clip_grad=dict(max_norm=5, norm_type=2))
