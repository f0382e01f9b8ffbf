_base_ = './convnext-1d-tiny_32xb128_in1k.py'

model = dict(backbone=dict(variant='1dpp'))
