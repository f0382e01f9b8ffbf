# A class at every step: no neck, and a head for it.
_base_ = [
    '../_base_/models/flex-tcn.py',
    '../_base_/datasets/copy-memory.py',
    '../_base_/schedules/flex_plateau_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(in_channels=1, kernel_size=1020, channels=[30] * 2),
    neck=None,
    head=dict(type='smpconv_mm.StepwiseClsHead'),
)
