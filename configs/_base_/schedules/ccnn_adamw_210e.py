# The recipe of CCNN: AdamW without decay, ten epochs of linear warm-up from zero, half
# a cosine to zero. The published rate is a little larger, by 0.6 % of the base rate at
# the end of the warm-up and less before and after it.
_base_ = ['./ccnn_rules.py']

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.02, weight_decay=0.0),
)
max_epochs = 210
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-8,
        by_epoch=True,
        end=10,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        by_epoch=True,
        begin=10,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
