# How the positions and widths of DCLS are trained: without decay, and five times as
# fast as weights. The blocks of a stage share them. A recipe puts this into
# optim_wrapper.paramwise_cfg.
dcls_rules = dict(
    bypass_duplicate=True,
    custom_keys={
        '.kernel.position': dict(lr_mult=5.0, decay_mult=0.0),
        '.kernel.width': dict(lr_mult=5.0, decay_mult=0.0),
    },
)
