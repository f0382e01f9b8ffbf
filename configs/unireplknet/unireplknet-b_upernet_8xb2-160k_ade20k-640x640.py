_base_ = [
    '../_base_/models/upernet_unireplknet-t.py',
    'mmseg::_base_/datasets/ade20k_640x640.py',
    '../_base_/schedules/seg_adamw_160k.py',
    '../_base_/mmseg_runtime.py',
]

test_pipeline = [
    *_base_.test_pipeline[:2],
    dict(type='ResizeToMultiple', size_divisor=32),
    *_base_.test_pipeline[2:],
]
train_dataloader = dict(batch_size=2)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(val_interval=4000)

channels = [128, 256, 512, 1024]
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(
        arch='b',
        drop_path_rate=0.3,
        with_cp=True,
        init_cfg=dict(checkpoint='checkpoints/unireplknet-b_backbone.pth'),
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
optim_wrapper = dict(
    constructor='smpconv_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
