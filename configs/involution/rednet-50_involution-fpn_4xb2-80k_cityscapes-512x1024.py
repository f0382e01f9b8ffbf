_base_ = './rednet-50_fpn_4xb2-80k_cityscapes-512x1024.py'

model = dict(neck=dict(type='smpconv_mm.InvolutionFPN'))
