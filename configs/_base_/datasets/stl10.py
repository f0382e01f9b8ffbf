# STL-10, labelled images of 96x96, not augmented; the standard split.
data_preprocessor = dict(
    num_classes=10,
    mean=[113.9085, 112.149, 103.683],
    std=[66.3765, 65.433, 69.1305],
    to_rgb=True,
)
common = dict(
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
)
common_dataset = dict(
    type='smpconv_mm.STL10',
    data_root='data/stl10_binary',
    pipeline=[dict(type='PackInputs', meta_keys=('sample_idx',))],
)
train_dataloader = dict(
    **common,
    batch_size=256,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(split='train', **common_dataset),
)
# As published: there is no validation split, the test split is evaluated while
# training. An honest result is that of the last epoch, not of the best.
val_dataloader = dict(
    **common,
    batch_size=250,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='test', **common_dataset),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
