_base_ = ['./flex-tcn-6_1xb64_smnist.py']

model = dict(backbone=dict(channels=[30] * 2))
