# The baseline of the training across resolutions, its first half: images of 16x16.
_base_ = ['./flexnet-7_1xb64_cifar10-16.py']

model = dict(
    _delete_=True,
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='smpconv_mm.CIFARResNet', depth=44),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64, topk=(1,)),
)
