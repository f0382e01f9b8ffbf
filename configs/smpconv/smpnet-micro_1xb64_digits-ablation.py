# Variants of the points, on a network in which they matter: few points that
# start at the centre (as published for CIFAR), few channels, a parallel kernel of
# a single tap. tools/analysis_tools/ablation.py trains all of them.
_base_ = './smpnet-micro_1xb64_digits.py'

model = dict(
    backbone=dict(
        arch=dict(channels=[8, 16], depths=[1, 1], n_points=[8, 4]),
        small_kernel_size=1,
        kernel_cfg=dict(coord_std=0.05),
        drop_path_rate=0.0,
    ),
    head=dict(in_channels=16),
)

max_epochs = 15
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        end=2,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=True,
        begin=2,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))

_options = 'model.backbone.kernel_cfg.'
ablation = {
    'published': {},
    'fixed-points': {_options + 'learn_coord': False},
    'fixed-radii': {_options + 'learn_radius': False},
    'fixed-points-and-radii': {
        _options + 'learn_coord': False,
        _options + 'learn_radius': False,
    },
    'clipped-coordinates': {_options + 'clip_coord': True},
}
