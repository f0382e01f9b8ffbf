# AdamW as SMP networks are trained with it: what is one-dimensional (norms,
# biases) does not decay, nor do positions and radii; radii learn ten times
# slower. The sequence networks take the same rules with another optimiser.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='AdamW', lr=4e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05
    ),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            '.kernel.coord': dict(decay_mult=0.0),
            '.kernel.radius': dict(lr_mult=0.1, decay_mult=0.0),
        },
    ),
)
