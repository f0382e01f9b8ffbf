# STL-10, labelled images enlarged to 256x256, augmented; the standard split.
_base_ = './stl10.py'
data_preprocessor = dict(std=[66.3765, 65.433, 69.1815])

resize = dict(type='Resize', scale=256, interpolation='bilinear')
pack = dict(type='PackInputs', meta_keys=('sample_idx',))
train_pipeline = [
    dict(type='Resize', scale=272, interpolation='bilinear'),
    dict(
        type='Rotate', magnitude_range=(0, 15), magnitude_std='inf', prob=1.0, pad_val=0
    ),
    dict(type='RandomCrop', crop_size=256),
    dict(type='RandomFlip', prob=0.5),
    pack,
]
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=64, dataset=dict(pipeline=[resize, pack]))
test_dataloader = val_dataloader
