# Names without a scope are mmpretrain's; ours are written smpconv_mm.Name.
default_scope = 'mmpretrain'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='smpconv_mm.CheckpointHook',
        interval=1,
        max_keep_ckpts=3,
        save_best='auto',
        # a run that is killed leaves no half-written file
        backend_args=dict(backend='atomic'),
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='VisualizationHook', enable=False),
    after_step=dict(type='smpconv_mm.AfterStepHook'),
    epoch_seed=dict(type='smpconv_mm.EpochSeedHook'),
    checkpoint_guard=dict(type='smpconv_mm.CheckpointGuardHook'),
    finite_guard=dict(type='smpconv_mm.FiniteGuardHook'),
)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # tools/train.py takes gloo where there is no GPU. timeout: seconds after which
    # a process that waits for another one gives up
    dist_cfg=dict(backend='nccl', timeout=600),
)

visualizer = dict(
    type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=42)
