# The published recipe of RedNet: SGD at 0.8 for 2048 images per step, five epochs
# (3130 steps) of warm-up from a quarter, the cosine set once an epoch.
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.8, momentum=0.9, nesterov=True, weight_decay=1e-4)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.25, by_epoch=False, begin=0, end=3130),
    dict(type='CosineAnnealingLR', T_max=130, by_epoch=True, begin=0, end=130),
]
train_cfg = dict(by_epoch=True, max_epochs=130, val_interval=1)
val_cfg = dict()
test_cfg = dict()
# 64 GPUs x 32 images
auto_scale_lr = dict(base_batch_size=2048)
