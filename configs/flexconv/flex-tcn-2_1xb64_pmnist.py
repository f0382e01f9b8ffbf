_base_ = ['./flex-tcn-6_1xb64_pmnist.py']

model = dict(backbone=dict(channels=[30] * 2))
