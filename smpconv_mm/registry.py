"""Registries of the package: children of MMEngine's roots.

``type='smpconv_mm.SMPNet'`` resolves from any default scope (mmpretrain, mmdet,
mmseg) without ``custom_imports``: MMEngine imports this file by the scope's
name, and the modules under ``locations`` at the first look-up.
"""

from mmengine import registry as root
from mmengine.registry import Registry

SCOPE = 'smpconv_mm'

MODELS = Registry(
    'model',
    parent=root.MODELS,
    scope=SCOPE,
    locations=['smpconv_mm.layers', 'smpconv_mm.models'],
)
DATASETS = Registry(
    'dataset', parent=root.DATASETS, scope=SCOPE, locations=['smpconv_mm.datasets']
)
TRANSFORMS = Registry(
    'transform',
    parent=root.TRANSFORMS,
    scope=SCOPE,
    locations=['smpconv_mm.datasets.transforms'],
)
HOOKS = Registry(
    'hook', parent=root.HOOKS, scope=SCOPE, locations=['smpconv_mm.engine.hooks']
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=root.OPTIM_WRAPPER_CONSTRUCTORS,
    scope=SCOPE,
    locations=['smpconv_mm.engine.optimizers'],
)
OPTIM_WRAPPERS = Registry(
    'optimizer wrapper',
    parent=root.OPTIM_WRAPPERS,
    scope=SCOPE,
    locations=['smpconv_mm.engine.optimizers'],
)
STRATEGIES = Registry(
    'strategy',
    parent=root.STRATEGIES,
    scope=SCOPE,
    locations=['smpconv_mm.engine.strategies'],
)
METRICS = Registry(
    'metric',
    parent=root.METRICS,
    scope=SCOPE,
    locations=['smpconv_mm.engine.metrics'],
)
LOOPS = Registry(
    'loop', parent=root.LOOPS, scope=SCOPE, locations=['smpconv_mm.engine.loops']
)
