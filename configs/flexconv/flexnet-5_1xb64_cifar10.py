_base_ = ['./flexnet-7_1xb64_cifar10.py']

model = dict(
    backbone=dict(channels=[22, 33, 33, 44, 44], stem_channels=22),
    head=dict(in_channels=44),
)
