_base_ = [
    'mmseg::_base_/models/upernet_r50.py',
    'mmseg::_base_/datasets/ade20k.py',
    '../_base_/models/smpnet-tiny_pyramid.py',
    '../_base_/schedules/seg_adamw_160k.py',
    '../_base_/schedules/smp_rules.py',
    '../_base_/mmseg_runtime.py',
]

crop_size = (512, 512)
model = dict(
    data_preprocessor=dict(size=crop_size),
    pretrained=None,
    backbone=dict(_base_.smpnet, _delete_=True, drop_path_rate=0.4),
    decode_head=dict(in_channels=_base_.smpnet_channels, num_classes=150),
    auxiliary_head=dict(in_channels=_base_.smpnet_channels[2], num_classes=150),
    test_cfg=dict(mode='slide', crop_size=crop_size, stride=(341, 341)),
)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    constructor='smpconv_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.95, custom_keys=_base_.smp_rules),
)
