_base_ = './rednet-50_64xb32_in1k.py'

model = dict(backbone=dict(depth=26))
