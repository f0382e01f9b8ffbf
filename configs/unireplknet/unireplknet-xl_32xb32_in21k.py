_base_ = './unireplknet-l_16xb64_in21k.py'

model = dict(backbone=dict(arch='xl', drop_path_rate=0.2), head=dict(in_channels=2048))
train_dataloader = dict(batch_size=32)
