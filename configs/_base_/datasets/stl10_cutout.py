# STL-10 with flips, crops, and a square of 32x32 that is left out (Cutout).
_base_ = ['./stl10.py']

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='RandomCrop', crop_size=96, padding=12),
            dict(type='RandomFlip', prob=0.5),
            # the mean, which becomes 0; of BGR images
            dict(type='Cutout', shape=32, pad_val=(104, 112, 114), prob=1.0),
            dict(type='PackInputs', meta_keys=('sample_idx',)),
        ]
    )
)
