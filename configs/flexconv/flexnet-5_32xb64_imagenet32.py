_base_ = [
    '../_base_/models/flexnet-7.py',
    '../_base_/datasets/imagenet32.py',
    '../_base_/schedules/flex_adam_350e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='smpconv_mm.KernelRegularizedClassifier',
    backbone=dict(channels=[22, 33, 33, 44, 44], stem_channels=22),
    head=dict(num_classes=1000, in_channels=44, topk=(1, 5)),
    kernel_losses=[dict(type='smpconv_mm.KernelNormLoss', loss_weight=1e-5)],
)
auto_scale_lr = dict(base_batch_size=2048)
