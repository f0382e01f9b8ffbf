# The recipe of ConvNeXt: AdamW at 4e-3 for 4096 images per step (32 GPUs x 128), twenty
# epochs of warm-up from 0, then half a cosine to 1e-6. float32 throughout.
_base_ = './in1k_adamw_300e.py'

optim_wrapper = dict(accumulative_counts=1)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        by_epoch=True,
        end=20,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=20,
        end=300,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='MomentumAnnealingEMA',
        momentum=1e-4,
        gamma=10,
        update_buffers=True,
    ),
]
auto_scale_lr = dict(base_batch_size=4096)
