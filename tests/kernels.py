"""Every registered kernel, and two that show what a kernel may do."""

from __future__ import annotations

import torch
from torch import nn

from smpconv_mm.layers import Kernel
from smpconv_mm.registry import MODELS

# Small arguments, axes and groupings of each kernel
EVERY = (1, 2, 3), ('dense', 'grouped', 'depthwise')
SMALL = {
    'CCNNKernel': (
        dict(kernel_net=dict(hidden_channels=8, omega_0=0.2), mask_init=0.4),
        (1, 2, 3),
        ('depthwise',),
    ),
    'CKKernel': (
        dict(kernel_net=dict(type='SIREN', hidden_channels=8, omega_0=3.0)),
        *EVERY,
    ),
    'DCLSKernel': (dict(n_points=4), *EVERY),
    'DenseKernel': ({}, *EVERY),
    'FlexKernel': (
        dict(kernel_net=dict(hidden_channels=8, input_scale=4.0), mask_init=0.4),
        *EVERY,
    ),
    'NJetKernel': (dict(sigma=1.3, order=3), (2, 3), EVERY[1]),
    'OrientedKernel': ({}, (2,), EVERY[1]),
    'SMPKernel': (dict(n_points=6, radius=0.5), *EVERY),
}
MODELS.import_from_location()
KERNELS = [
    name
    for name, cls in MODELS.module_dict.items()
    if isinstance(cls, type) and issubclass(cls, Kernel)
]
GROUPS = dict(dense=1, grouped=2, depthwise=4)  # of 4 channels
# all that each of them serves: name, axes, grouping, causal or not
FORMS = [
    (name, ndim, kind, causal)
    for name in KERNELS
    for ndim in SMALL[name][1]
    for kind in SMALL[name][2]
    for causal in ((False, True) if ndim == 1 else (False,))
]


def cfg_of(name: str) -> dict:
    return dict(type=name, **SMALL[name][0])


class GaussianKernel(Kernel):
    """Cropped to where it is large; ``width`` sets how many taps are left."""

    def __init__(self, *args, width=0.2, **kwargs):
        super().__init__(*args, **kwargs)
        self.weight = nn.Parameter(torch.randn(self.out_channels, self.in_channels))
        self.width = nn.Parameter(torch.full((self.ndim,), width))
        self.places = []

    def sample(self):
        kernel = self.weight[(...,) + (None,) * self.ndim]
        self.places = []
        for axis, (n, width) in enumerate(zip(self.kernel_size, self.width)):
            place = torch.linspace(-1, 1, n, dtype=width.dtype) if n > 1 else width * 0
            if self.causal:
                keep = place > 1 - 2 * width.detach()
                place = place - 1
            else:
                keep = place.abs() < 2 * width.detach()
            keep = keep if keep.any() else torch.ones_like(keep)
            self.places.append(keep)
            line = torch.exp(-((place[keep] / width) ** 2) / 2)
            kernel = kernel * line.view(-1, *[1] * (self.ndim - 1 - axis))
        return kernel

    def whole(self):
        """The kernel at all taps of ``kernel_size``, zeros where it is cropped."""
        kernel = self()
        for axis, keep in enumerate(self.places, 2):
            shape = (*kernel.shape[:axis], len(keep), *kernel.shape[axis + 1 :])
            index = keep.nonzero().flatten()
            kernel = kernel.new_zeros(shape).index_copy(axis, index, kernel)
        return kernel


class NetKernel(Kernel):
    """Made by a network that has statistics, as those of CKConv and FlexConv."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.net = nn.Sequential(
            nn.Linear(self.ndim, 8),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Linear(8, self.out_channels * self.in_channels),
        )

    def sample(self):
        axes = [torch.linspace(-1, 1, n) for n in self.kernel_size]
        places = torch.stack(torch.meshgrid(*axes, indexing='ij'), -1).flatten(0, -2)
        values = self.net(places.to(self.net[0].weight))
        shape = self.out_channels, self.in_channels, *self.kernel_size
        return values.t().reshape(shape)
