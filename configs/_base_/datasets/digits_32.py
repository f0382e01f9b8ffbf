# Digits of scikit-learn (embedded, no download), enlarged from 8x8 to 32x32.
data_preprocessor = dict(num_classes=10, mean=[78.0] * 3, std=[96.0] * 3, to_rgb=False)

resize = dict(type='Resize', scale=32, interpolation='bicubic')
train_pipeline = [
    resize,
    dict(
        type='Rotate', magnitude_range=(0, 15), magnitude_std='inf', prob=0.5, pad_val=0
    ),
    dict(
        type='Translate',
        magnitude_range=(0, 0.1),
        magnitude_std='inf',
        prob=0.5,
        pad_val=0,
    ),
    dict(
        type='Translate',
        direction='vertical',
        magnitude_range=(0, 0.1),
        magnitude_std='inf',
        prob=0.5,
        pad_val=0,
    ),
    dict(
        type='Shear', magnitude_range=(0, 0.2), magnitude_std='inf', prob=0.5, pad_val=0
    ),
    dict(type='PackInputs', meta_keys=('sample_idx',)),
]
test_pipeline = [resize, dict(type='PackInputs', meta_keys=('sample_idx',))]

# The data fit in memory: worker processes would cost more than they give.
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='smpconv_mm.Digits', split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=360,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='smpconv_mm.Digits', split='test', pipeline=test_pipeline),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
