_base_ = ['./flex-tcn-6_1xb64_scifar10.py']

model = dict(backbone=dict(channels=[30] * 4))
