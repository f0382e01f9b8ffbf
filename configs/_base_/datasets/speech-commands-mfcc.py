# Ten words of Speech Commands as MFCC: (20, 161), normalised at each time.
data_preprocessor = dict(num_classes=10)

common = dict(
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
)
common_dataset = dict(
    type='smpconv_mm.SpeechCommands',
    data_root='data/speech_commands_v0.02',
    representation='mfcc',
    pipeline=[dict(type='PackInputs', meta_keys=('sample_idx',))],
)
train_dataloader = dict(
    **common,
    batch_size=32,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(split='train', **common_dataset),
)
val_dataloader = dict(
    **common,
    batch_size=32,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='val', **common_dataset),
)
test_dataloader = dict(
    **common,
    batch_size=32,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='test', **common_dataset),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
