_base_ = [
    '../_base_/models/flexnet-7.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/flex_adam_350e.py',
    '../_base_/default_runtime.py',
]

# The first half of the training across resolutions: images of 16x16, kernels of 17x17
# that hold no frequencies above those of that grid.
resize = dict(type='Resize', scale=16, backend='pillow', interpolation='bilinear')
model = dict(
    type='smpconv_mm.KernelRegularizedClassifier',
    backbone=dict(kernel_size=17),
    kernel_losses=[
        dict(
            type='smpconv_mm.AliasingLoss',
            loss_weight=0.1,
            target='gabor',
            method='together',
            stddevs=2.0,
        )
    ],
)
train_dataloader = dict(dataset=dict(pipeline=[*_base_.augment, resize, _base_.pack]))
val_dataloader = dict(dataset=dict(pipeline=[resize, _base_.pack]))
test_dataloader = val_dataloader
_base_.param_scheduler[1].end = 100
train_cfg = dict(max_epochs=100)
