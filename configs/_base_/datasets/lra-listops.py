# ListOps of the Long Range Arena: sequences of at most 2048 symbols.
data_preprocessor = dict(num_classes=10)

common = dict(
    batch_size=50,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
)
common_dataset = dict(
    type='smpconv_mm.ListOps',
    data_root='data/lra_release/listops-1000',
    pipeline=[dict(type='PackInputs', meta_keys=('sample_idx',))],
)
train_dataloader = dict(
    **common,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(split='train', **common_dataset),
)
val_dataloader = dict(
    **common,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='val', **common_dataset),
)
test_dataloader = dict(
    **common,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='test', **common_dataset),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
