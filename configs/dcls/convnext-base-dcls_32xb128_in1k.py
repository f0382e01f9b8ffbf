_base_ = './convnext-tiny-dcls_32xb128_in1k.py'

model = dict(
    backbone=dict(arch='base', n_points=40, drop_path_rate=0.5),
    head=dict(in_channels=1024),
)
