_base_ = './unireplknet-s_16xb32_in21k.py'

model = dict(backbone=dict(arch='b'), head=dict(in_channels=1024))
