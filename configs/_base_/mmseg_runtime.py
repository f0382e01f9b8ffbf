# mmseg's runtime with the hooks of default_runtime.py; it counts iterations
_base_ = 'mmseg::_base_/default_runtime.py'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='smpconv_mm.CheckpointHook',
        by_epoch=False,
        interval=16000,
        max_keep_ckpts=3,
        save_best='mIoU',
        backend_args=dict(backend='atomic'),
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
    after_step=dict(type='smpconv_mm.AfterStepHook'),
    checkpoint_guard=dict(type='smpconv_mm.CheckpointGuardHook'),
    finite_guard=dict(type='smpconv_mm.FiniteGuardHook'),
    label_guard=dict(type='smpconv_mm.LabelGuardHook'),
)
# seconds after which a process that waits for another one gives up
env_cfg = dict(dist_cfg=dict(timeout=600))
