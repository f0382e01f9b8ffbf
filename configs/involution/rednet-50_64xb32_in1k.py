_base_ = [
    '../_base_/models/rednet-50.py',
    '../_base_/datasets/imagenet_224_plain.py',
    '../_base_/schedules/in1k_sgd_130e.py',
    '../_base_/default_runtime.py',
]

custom_hooks = [dict(type='smpconv_mm.OverflowHook')]
