_base_ = './unireplknet-t_4xb128_in1k.py'

model = dict(
    backbone=dict(arch='f', drop_path_rate=0.0),
    head=dict(in_channels=384),
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.3), dict(type='CutMix', alpha=0.3)]
    ),
)
