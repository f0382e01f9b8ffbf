# The published recipe: AdamW at 4e-3 for 2048 images per step, ten epochs of
# warm-up from 0, then half a cosine to 1e-6. float32 throughout, no clipping.
_base_ = './adamw.py'

# 4 GPUs x 256 images x 2 = 2048
optim_wrapper = dict(accumulative_counts=2)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        by_epoch=True,
        end=10,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=10,
        end=300,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# Averaged weights are those that are evaluated and kept. interval: one update
# an optimiser step. The average starts short: after t steps its momentum is
# 10 / (10 + t), and 1e-4, as published, from step 100,000 of 187,500 on; with 1e-4
# from the first step on, a short training would be evaluated by its first weights.
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='MomentumAnnealingEMA',
        momentum=1e-4,
        gamma=10,
        update_buffers=True,
        interval=2,
    ),
]
# MMEngine compares this with GPUs x batch_size, without accumulation
auto_scale_lr = dict(base_batch_size=1024)
