_base_ = [
    '../_base_/models/smpnet-tiny.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/in1k_adamw_300e.py',
    '../_base_/schedules/smp_rules.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(paramwise_cfg=dict(custom_keys=_base_.smp_rules))
randomness = dict(diff_rank_seed=True)
