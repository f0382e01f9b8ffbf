# The masks of FlexConv, their means and widths, learn ten times slower. A recipe puts
# it into optim_wrapper.paramwise_cfg.custom_keys.
flex_rules = {'.kernel.mask_params': dict(lr_mult=0.1)}
