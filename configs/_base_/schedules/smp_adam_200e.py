# The published recipe for sequences and CIFAR: Adam with the decay added to the
# gradient, five epochs of linear warm-up, half a cosine to 1e-6 (for all
# parameters, also those of a smaller rate); no clipping of gradients.
#
# Two details differ from the published program. Its warm-up goes from 0 through
# the base rate b at its last step W to b (W + 1) / W at the first step of the
# cosine; ours from b / 1e6 to b at step W - 1. The rates differ by less than
# 2 b / W. And it stops after 100 epochs that were worse than the best.
_base_ = ['./adamw.py', './smp_rules.py']

optim_wrapper = dict(
    optimizer=dict(
        _delete_=True,
        type='Adam',
        lr=1e-4,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=1e-5,
    ),
    paramwise_cfg=dict(custom_keys=_base_.smp_rules),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        by_epoch=True,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=5,
        end=200,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=64)
