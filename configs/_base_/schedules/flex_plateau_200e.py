# The recipe of FlexConv and CKConv for sequences: Adam without decay, a fifth of the
# rate after 20 epochs without a better accuracy.
_base_ = ['./flex_rules.py']

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=0.001),
    paramwise_cfg=dict(custom_keys=_base_.flex_rules),
)
param_scheduler = [
    dict(
        type='ReduceOnPlateauLR',
        monitor='accuracy/top1',
        rule='greater',
        factor=0.2,
        patience=20,
        threshold=0.0,
    )
]
train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=64)
