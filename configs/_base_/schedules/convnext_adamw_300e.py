# The recipe of ConvNeXt: AdamW at 4e-3 for 4096 images per step (32 GPUs x 128), twenty
# epochs of warm-up from 0, then half a cosine to 1e-6. float32 throughout.
_base_ = './in1k_adamw_300e.py'

optim_wrapper = dict(accumulative_counts=1)
_base_.param_scheduler[0].update(end=20)
_base_.param_scheduler[1].update(begin=20)
_base_.custom_hooks[0].update(interval=1)
auto_scale_lr = dict(base_batch_size=4096)
