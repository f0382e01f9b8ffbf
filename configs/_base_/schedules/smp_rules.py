# How the points of SMP kernels are trained: neither positions nor radii decay, radii
# learn ten times slower. A recipe puts them into
# optim_wrapper.paramwise_cfg.custom_keys.
smp_rules = {
    '.kernel.coord': dict(decay_mult=0.0),
    '.kernel.radius': dict(lr_mult=0.1, decay_mult=0.0),
}
