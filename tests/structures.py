"""Networks of which only the structure is looked at: their numbers take time."""

import math

import torch
from torch.overrides import TorchFunctionMode


class LargeOnMeta(TorchFunctionMode):
    """Large tensors are made without memory.

    Small ones keep their numbers: networks read rates of dropped paths from tensors.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.empty:
            size = args if isinstance(args[0], int) else args[0]
            if math.prod(size) > 4096:
                kwargs = dict(kwargs, device='meta')
        return function(*args, **kwargs)


def structure(make, *args, **kwargs):
    """What ``make(*args, **kwargs)`` returns, a module, all on the meta device."""
    with LargeOnMeta():
        module = make(*args, **kwargs)
    return module.to_empty(device='meta')
