_base_ = [
    '../_base_/models/smp-resnet.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/smp_adam_200e.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(optimizer=dict(lr=5e-3))
_base_.param_scheduler[0].end = 10
_base_.param_scheduler[1].update(begin=10, end=210)
train_cfg = dict(max_epochs=210)
randomness = dict(seed=0)
