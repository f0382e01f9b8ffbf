# Thirty epochs of data of any size. The learning rate is that of 64 images per step
# and follows the batch that is used; warm-up and cosine are counted in epochs.
_base_ = './adamw.py'

optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        end=3,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=3,
        end=30,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(enable=True, base_batch_size=64)

# After t steps the average reaches back about t / 10 of them, so that it is good
# for short trainings, too.
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='MomentumAnnealingEMA',
        momentum=1e-4,
        gamma=10,
        update_buffers=True,
    ),
]
