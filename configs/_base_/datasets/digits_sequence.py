# Digits of scikit-learn (embedded, no download) as sequences of 64 pixels.
data_preprocessor = dict(num_classes=10, mean=[78.0], std=[96.0])

pipeline = [dict(type='PackInputs', meta_keys=('sample_idx',))]
# The data fit in memory: worker processes would cost more than they give.
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='smpconv_mm.Digits', split='train', sequence=True, pipeline=pipeline
    ),
)
val_dataloader = dict(
    batch_size=360,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='smpconv_mm.Digits', split='test', sequence=True, pipeline=pipeline
    ),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
