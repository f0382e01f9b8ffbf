# mmdet's runtime with the hooks of default_runtime.py
_base_ = 'mmdet::_base_/default_runtime.py'

default_hooks = dict(
    checkpoint=dict(
        type='smpconv_mm.CheckpointHook',
        max_keep_ckpts=3,
        save_best='coco/bbox_mAP',
        backend_args=dict(backend='atomic'),
    ),
    after_step=dict(type='smpconv_mm.AfterStepHook'),
    epoch_seed=dict(type='smpconv_mm.EpochSeedHook'),
    checkpoint_guard=dict(type='smpconv_mm.CheckpointGuardHook'),
    num_class_check=dict(type='NumClassCheckHook'),
    finite_guard=dict(type='smpconv_mm.FiniteGuardHook'),
)
# seconds after which a process that waits for another one gives up
env_cfg = dict(dist_cfg=dict(timeout=600))
