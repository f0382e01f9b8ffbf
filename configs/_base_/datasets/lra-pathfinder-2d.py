# Pathfinder of the Long Range Arena, images of 32x32, the hard set.
data_preprocessor = dict(num_classes=2)

to_tensor = [
    dict(type='LoadImageFromFile', color_type='grayscale'),
    dict(type='NumpyToPIL'),
    dict(type='torchvision/ToTensor'),
    dict(type='torchvision/Normalize', mean=(0.5,), std=(0.5,)),
]
pack = dict(type='PackInputs', meta_keys=('sample_idx',))

common = dict(
    batch_size=100,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
)
common_dataset = dict(
    type='smpconv_mm.Pathfinder',
    data_root='data/lra_release/pathfinder32/curv_contour_length_14',
    pipeline=[*to_tensor, pack],
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
