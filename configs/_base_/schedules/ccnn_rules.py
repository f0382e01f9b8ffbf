# The widths of the masks of CCNN learn ten times slower in recipes that say so. A
# recipe puts it into optim_wrapper.paramwise_cfg.custom_keys. In the published program
# the setting has no effect.
ccnn_rules = {'.kernel.mask_width': dict(lr_mult=0.1)}
