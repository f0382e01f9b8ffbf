# How the positions and widths of DCLS are trained: without decay, and five times as
# fast as weights. A recipe puts them into optim_wrapper.paramwise_cfg.custom_keys.
dcls_rules = {
    '.kernel.position': dict(lr_mult=5.0, decay_mult=0.0),
    '.kernel.width': dict(lr_mult=5.0, decay_mult=0.0),
}
