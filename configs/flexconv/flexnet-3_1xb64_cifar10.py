_base_ = ['./flexnet-7_1xb64_cifar10.py']

model = dict(backbone=dict(channels=[24, 36, 48]))
