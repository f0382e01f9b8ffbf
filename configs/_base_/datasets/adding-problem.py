# The adding problem: two numbers of 1000 are marked, their sum is asked for.
data_preprocessor = dict()

# The data fit in memory: worker processes would cost more than they give.
common = dict(num_workers=0, collate_fn=dict(type='default_collate'))
common_dataset = dict(
    type='smpconv_mm.AddingProblem',
    length=1000,
    pipeline=[dict(type='PackInputs', meta_keys=('sample_idx',))],
)
train_dataloader = dict(
    **common,
    batch_size=64,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(split='train', **common_dataset),
)
val_dataloader = dict(
    **common,
    batch_size=250,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='test', **common_dataset),
)
val_evaluator = dict(type='smpconv_mm.MeanSquaredError')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
