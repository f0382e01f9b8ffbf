# For images of one's own: tools/train.py THIS_FILE --data FOLDER
_base_ = [
    '../_base_/models/smpnet-tiny.py',
    '../_base_/datasets/custom_224.py',
    '../_base_/schedules/custom_adamw_30e.py',
    '../_base_/schedules/smp_rules.py',
    '../_base_/default_runtime.py',
]

# mixing images asks for longer trainings
model = dict(train_cfg=None, head=dict(num_classes=2, topk=(1,)))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=_base_.smp_rules))
