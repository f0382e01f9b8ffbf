# Parameters, gradients and the state of AdamW are shards, one a process; without
# averaged weights, for which the whole model would have to be kept.
_base_ = './smpnet-base_4xb128_in1k.py'

strategy = dict(type='smpconv_mm.FSDPStrategy')
custom_hooks = []
