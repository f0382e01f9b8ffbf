# Weights trained on ImageNet-21k, adapted to ImageNet-1k: AdamW at 5e-5 for 512 images
# per step, 0.8 a layer, thirty epochs of half a cosine to 1e-6.
_base_ = './adamw.py'

optim_wrapper = dict(
    accumulative_counts=2,
    constructor='smpconv_mm.LayerDecayOptimWrapperConstructor',
    optimizer=dict(lr=5e-5, weight_decay=1e-8),
    paramwise_cfg=dict(layer_decay_rate=0.8),
)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        end=30,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
val_cfg = dict()
test_cfg = dict()
# MMEngine compares this with GPUs x batch_size, without accumulation
auto_scale_lr = dict(base_batch_size=256)
