# CCNN-4,140 of the paper for sequences: the same network with one axis. Each task adds
# kernel_size, the length of its sequences.
_base_ = './ccnn-image.py'

model = dict(backbone=dict(in_channels=1, ndim=1, kernel_size=784), neck=dict(dim=1))
