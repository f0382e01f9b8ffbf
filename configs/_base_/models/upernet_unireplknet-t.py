# UPerNet on UniRepLKNet-T, for ADE20K.
_base_ = ['mmseg::_base_/models/upernet_r50.py', './unireplknet-t_pyramid.py']

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(_base_.unireplknet, _delete_=True, drop_path_rate=0.2),
    decode_head=dict(in_channels=_base_.unireplknet_channels, num_classes=150),
    auxiliary_head=dict(in_channels=_base_.unireplknet_channels[2], num_classes=150),
)
